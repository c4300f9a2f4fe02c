package podder

import (
	"context"
	"math"
	"reflect"
	"sync"

	"github.com/poddb/poddb/internal/pod"
)

// Loads keeps what loads have found out about the types of one catalogue, and their
// tables, for the next ones: a load of one small variable is then little more than
// its decoding. Loaders wait by the type that they were made for, because that says
// how the texts of others are read. It is safe for concurrent use, by all graphs and
// calls of Decode that read one catalogue with one Registry.
//
// Invariants:
//
//  1. A loader that waits holds nothing of what it loaded, and nobody holds anything
//     of it: it is made anew but for what keepTables names.
//  2. Only a load that has succeeded gives its loader back. What is known of types
//     depends on nothing but the catalogue, whose entries never change, the wanted
//     type, and the Registry; if that has changed since, the loader is dropped.
type Loads struct {
	waiting sync.Map // by reflect.Type, nil for any type: *sync.Pool of *loader
}

// What a loader may have and still be kept for the next load: tables that are much
// larger than that load needs would be cleared each time.
const (
	maxKeptPods  = 64
	maxKeptSlots = 1024
	maxKeptTypes = 1024
)

// loaderFor is newLoader for a load of one variable, with a loader that was used
// before if one waits.
func loaderFor(ctx context.Context, cfg *Config, src pod.Source, want reflect.Type) *loader {
	if cfg.Loads == nil {
		return newLoader(ctx, cfg, src, []reflect.Type{want})
	}
	home := cfg.Loads.home(want)
	age := cfg.Registry.changes.Load() // before anything is asked of it
	if l, _ := home.Get().(*loader); l != nil && l.reg == cfg.Registry && l.age == age {
		l.ctx, l.src, l.budget = ctx, src, newBudget(cfg)
		return l
	}
	l := newLoader(ctx, cfg, src, []reflect.Type{want})
	l.home, l.age = home, age
	return l
}

// home returns where loaders of a wanted type wait.
func (k *Loads) home(want reflect.Type) *sync.Pool {
	home, ok := k.waiting.Load(want)
	if !ok {
		home, _ = k.waiting.LoadOrStore(want, new(sync.Pool))
	}
	return home.(*sync.Pool)
}

// giveBack lets the loader be used for another load. Its own has succeeded, and all
// that it returned was taken.
func (l *loader) giveBack() {
	if l.home == nil || len(l.pods) > maxKeptPods || len(l.types)+len(l.typed)+len(l.nodes)+len(l.itabs) > maxKeptTypes {
		return
	}
	l.keepTables()
	l.home.Put(l)
}

// keepTables makes the loader as new but for what it knows of types and for empty
// tables.
func (l *loader) keepTables() {
	for _, st := range l.fillers {
		st.filler = nil // it holds the last entry and the map
	}
	for id, p := range l.pods {
		if p.slots != nil && cap(p.slots) <= maxKeptSlots {
			l.idle.give(p)
		}
		*p = loadPod{}
		l.idle.pods = append(l.idle.pods, p)
		delete(l.pods, id)
	}
	l.idle.trim()
	if l.spare != nil {
		clear(l.spare.Slots[:cap(l.spare.Slots)])
	}
	clear(l.forwarders)
	*l = loader{
		home: l.home, age: l.age, reg: l.reg, wanted: l.wanted,
		types: l.types, recent: l.recent, typed: l.typed, itabs: l.itabs, nodes: l.nodes,
		pods: l.pods, forwarders: l.forwarders, idle: l.idle, spare: l.spare,
		fetched: emptied(l.fetched), ask: emptied(l.ask), batch: emptied(l.batch), queue: emptied(l.queue),
		steps: l.steps[:0], fillers: emptied(l.fillers),
		awaited: math.MaxInt,
	}
}

// emptied returns a list without elements, that holds none in its memory either.
func emptied[T any](list []T) []T {
	if cap(list) > maxKeptSlots {
		return nil
	}
	clear(list[:cap(list)])
	return list[:0]
}
