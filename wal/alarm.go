package wal

import "time"

// alarm is a timer that can be off.
type alarm struct {
	timer *time.Timer
	on    bool
}

func (a *alarm) set(d time.Duration) {
	if a.timer == nil {
		a.timer = time.NewTimer(d)
	} else {
		a.timer.Reset(d)
	}
	a.on = true
}

func (a *alarm) stop() {
	if a.on {
		a.timer.Stop()
		a.on = false
	}
}

// rings is the channel to wait on, nil while the alarm is off. Who received
// from it calls stop.
func (a *alarm) rings() <-chan time.Time {
	if !a.on {
		return nil
	}
	return a.timer.C
}

// rang reports once whether the time has come.
func (a *alarm) rang() bool {
	select {
	case <-a.rings():
		a.on = false
		return true
	default:
		return false
	}
}
