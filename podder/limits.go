package podder

import (
	"fmt"
	"math"
	"reflect"

	"github.com/poddb/poddb/internal/dberr"
)

// What stored bytes may make a load do. Everything that is read is bounded by
// the bytes that are there; these are the bounds of what is not in proportion to
// them. What a program writes is far below all but MaxUnstored.
const (
	// memoryPerByte is how much memory a stored byte may turn into.
	memoryPerByte = 64
	// maxValueDepth bounds interface values that hold each other by value.
	maxValueDepth = 10000
	// maxForwarders bounds the forwarders that one reference goes through.
	maxForwarders = 1000
	// maxMadeTypes bounds the types that one load makes because only their text
	// is known: they live as long as the process.
	maxMadeTypes = 10000
	// maxMadeArray bounds elements and bytes of an array type made so.
	maxMadeArray = 1 << 16
)

// DefaultMaxUnstored is how many bytes a load may allocate beyond 64 for each
// stored byte, unless Config says otherwise: capacity beyond the elements that
// are kept, fields that are not stored.
const DefaultMaxUnstored = 4 << 30

// budget is what one load may still allocate.
type budget struct {
	unstored uint64
	all      uint64
}

func newBudget(cfg *Config) budget {
	b := budget{unstored: DefaultMaxUnstored, all: math.MaxUint64}
	if cfg.MaxUnstored > 0 {
		b.unstored = uint64(cfg.MaxUnstored)
	}
	if cfg.MaxLoad > 0 {
		b.all = uint64(cfg.MaxLoad)
	}
	return b
}

// charge accounts for memory of count times size bytes, for which stored bytes
// are the reason. It reports false, with an error recorded, if that is out of
// proportion, or more than the program allows.
func (l *loader) charge(count, size uint64, stored int) bool {
	if total := count * size; count|size < 1<<31 && total <= uint64(stored)*memoryPerByte && total <= l.budget.all {
		l.budget.all -= total
		return true
	}
	const most = min(1<<46, math.MaxInt>>1)
	if count > most || size != 0 && count > most/size {
		l.corrupt("%d elements of %d bytes", count, size)
		return false
	}
	return l.allot(count*size, uint64(stored)*memoryPerByte, stored)
}

// allot accounts for total bytes of memory, of which so many are justified by
// what is stored.
func (l *loader) allot(total, justified uint64, stored int) bool {
	if total > justified {
		extra := total - justified
		if extra > l.budget.unstored {
			l.fail(fmt.Errorf("pod %d slot %d: %d bytes of memory from %d stored bytes, beyond what Config.MaxUnstored allows: %w",
				l.at.pod.id, l.at.slot, total, stored, dberr.ErrTooLarge))
			return false
		}
		l.budget.unstored -= extra
	}
	if total > l.budget.all {
		l.fail(fmt.Errorf("pod %d slot %d: %d bytes of memory, beyond what Config.MaxLoad allows for one load: %w",
			l.at.pod.id, l.at.slot, total, dberr.ErrTooLarge))
		return false
	}
	l.budget.all -= total
	return true
}

// mayMake counts a type that is made from its text.
func (l *loader) mayMake(text string) error {
	if l.made[text] {
		return nil
	}
	if len(l.made) == maxMadeTypes {
		return fmt.Errorf("type %s: more than %d types of one load are known by their text alone: %w", text, maxMadeTypes, dberr.ErrTooLarge)
	}
	if l.made == nil {
		l.made = map[string]bool{}
	}
	l.made[text] = true
	return nil
}

// madeArray reports whether the type of arrays of n elements may be made.
func madeArray(n uint64, elem reflect.Type) bool {
	return n <= maxMadeArray && n*uint64(elem.Size()) <= maxMadeArray
}
