package trace

import "fmt"

// Recording is the recorded state after a step: the bytes of every live object
// and variable, without any Go object. Sum judges Go variables by it.
type Recording struct {
	Step    int    // number of the last applied step, 0 before the first
	Payload uint64 // payload bytes of all live objects
	Sum     uint32 // recorded check sum

	objects map[uint64]recorded
	vars    map[string][]byte
}

type recorded struct {
	kind    byte
	payload []byte
}

// NewRecording returns the state before the first step.
func NewRecording() *Recording {
	return &Recording{objects: map[uint64]recorded{}, vars: map[string][]byte{}}
}

// Len returns the number of live objects.
func (rec *Recording) Len() int { return len(rec.objects) }

// Names returns how many variables there are.
func (rec *Recording) Names() int { return len(rec.vars) }

// Apply takes over the changes of a step that a Reader returned. The Recording
// keeps the payloads of the step, so nobody may change them.
func (rec *Recording) Apply(s *Step) error {
	if s.Number != rec.Step+1 {
		return fmt.Errorf("trace: step %d follows step %d", s.Number, rec.Step)
	}
	for i := range s.Objects {
		o := &s.Objects[i]
		rec.objects[o.ID] = recorded{o.Kind, o.Payload}
	}
	for _, v := range s.Vars {
		rec.vars[v.Name] = v.Value
	}
	for _, name := range s.Deleted {
		delete(rec.vars, name)
	}
	for _, id := range s.Dropped {
		delete(rec.objects, id)
	}
	rec.Step, rec.Payload, rec.Sum = s.Number, s.Payload, s.Sum
	return nil
}
