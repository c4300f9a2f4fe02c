package podder

import (
	"cmp"
	"context"
	"fmt"
	"reflect"
	"slices"
	"unsafe"

	"github.com/poddb/poddb/internal/dberr"
)

// before calls BeforeStore of the value at p, which is no copy.
func (w *walk) before(t reflect.Type, p unsafe.Pointer) {
	if w.settled || w.nesting > 0 {
		return
	}
	w.pin()
	w.st.walkAlways = true // it may change what was found to be the same already
	hook := reflect.NewAt(t, p).Interface().(BeforeStorer)
	if err := guarded(hook.BeforeStore); err != nil {
		w.failed(p, t, fmt.Errorf("its method BeforeStore: %w", err))
	}
}

// guarded makes a panic of the program's method an error.
func guarded(hook func() error) (err error) {
	defer func() {
		if r := recover(); r != nil {
			err = panicked(r)
		}
	}()
	return hook()
}

// loadedHook is a value whose AfterLoad is to be called.
type loadedHook struct {
	slot loadSlot // no pod if it lies in none
	at   unsafe.Pointer
	typ  reflect.Type
	turn int // of the slot
}

// after notes that AfterLoad of the value at `at` is to be called. Of a value that
// will be copied it is called at once, when the slot is decoded for the second
// time.
func (l *loader) after(t reflect.Type, at unsafe.Pointer) {
	l.sawHook = true
	h := loadedHook{l.filling, at, t, l.number}
	switch {
	case l.scratch == 0:
		l.hooks = append(l.hooks, h)
	case !l.migrating:
		l.sawMigration = true
	case !l.missing:
		if err := h.run(); err != nil {
			l.fail(err)
		}
	}
}

func (h loadedHook) run() error {
	if err := guarded(reflect.NewAt(h.typ, h.at).Interface().(AfterLoader).AfterLoad); err != nil {
		where := ""
		if p := h.slot.pod; p != nil {
			where = fmt.Sprintf("pod %d slot %d: ", p.id, h.slot.slot)
		}
		return fmt.Errorf("%s%v: its method AfterLoad: %w: %w", where, h.typ, err, dberr.ErrTypeMismatch)
	}
	return nil
}

// turns is in which order slots were filled for the first time, containers that
// are filled in the midst of another slot after that one. Methods and codecs of the
// program run in the opposite order.
type turns struct {
	turn
	last  int
	first map[loadSlot]int // of slots that are decoded once more
}

// turn is that of the slot being decoded.
type turn struct {
	filling loadSlot // whose memory is decoded to, whatever is read for it elsewhere
	number  int
	sawHook bool // it has values with methods or codecs of the program
}

// begin gives a slot its turn.
func (t *turns) begin(s loadSlot) {
	t.last++
	t.turn = turn{filling: s, number: t.last}
	if n, ok := t.first[s]; ok {
		t.number = n
	}
}

// remember has a slot keep its turn.
func (t *turns) remember(s loadSlot) {
	if t.first == nil {
		t.first = map[loadSlot]int{}
	}
	t.first[s] = t.number
}

// inTurn sorts slots that are remembered.
func (t *turns) inTurn(slots []loadSlot) {
	slices.SortStableFunc(slots, func(a, b loadSlot) int { return cmp.Compare(t.first[a], t.first[b]) })
}

// dropHooks forgets the values of slots that are decoded once more, among those
// from the n-th on.
func (l *loader) dropHooks(n int, slots ...loadSlot) {
	if len(l.hooks) == n {
		return
	}
	again := make(map[loadSlot]bool, len(slots))
	for _, s := range slots {
		again[s] = true
	}
	kept := slices.DeleteFunc(l.hooks[n:], func(h loadedHook) bool { return again[h.slot] })
	l.hooks = l.hooks[:n+len(kept)]
}

// runHooks calls AfterLoad of what was loaded, last met first. In place it waits
// until the live objects have their contents.
func (l *loader) runHooks() error {
	if l.inPlace {
		return nil
	}
	for _, h := range slices.Backward(l.hooksInTurn()) {
		if err := h.run(); err != nil {
			return err
		}
	}
	return nil
}

// runHooksInPlace calls AfterLoad of live objects. It is too late to fail.
func (l *loader) runHooksInPlace(ctx context.Context) {
	for _, h := range slices.Backward(l.hooksInTurn()) {
		h.at = h.liveAt()
		if err := h.run(); err != nil {
			l.warn("%v", err)
		}
	}
}

// liveAt returns where the value is in the live object, if it was decoded to the
// shadow of one.
func (h loadedHook) liveAt() unsafe.Pointer {
	p := h.slot.pod
	if p == nil || p.shadow[h.slot.slot] == nil {
		return h.at
	}
	r := &p.slots[h.slot.slot]
	shadow := uintptr(p.shadow[h.slot.slot])
	size := uintptr(r.elements()) * r.typ.typ.Size()
	if uintptr(h.at) < shadow || uintptr(h.at)-shadow >= size {
		return h.at
	}
	return unsafe.Add(r.addr, uintptr(h.at)-shadow)
}

func (l *loader) hooksInTurn() []loadedHook {
	slices.SortStableFunc(l.hooks, func(a, b loadedHook) int { return cmp.Compare(a.turn, b.turn) })
	return l.hooks
}
