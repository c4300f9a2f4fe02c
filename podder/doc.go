// Package podder turns live Go memory into pods and pods into live memory.
//
// A Graph is what a namespace keeps between saves: where every object it knows
// lies in memory, which slot of which pod holds it, and what was last stored
// there. Save walks everything that the variables reach in two phases:
//
//	discover  find every region of memory (one Go allocation as far as the
//	          program can see it), settle which one contains which
//	place     give new regions a pod and a slot; known ones keep theirs
//	encode    write the slots, compare their keyed hashes with what was stored,
//	          hand over the pods that changed
//
// Load, Restore and Decode go the other way. The walk knows memory, not
// files: pods leave through a pod.Sink and come from a pod.Source.
//
// Reading guide, writing half: graph.go (state), plan.go (how a type is read),
// region.go and region_index.go (memory), discover.go, place.go, encode.go,
// edges.go (what an exported slot keeps alive), save.go (the order of steps),
// stream.go (a first save), resave.go (saves that look only at what changed).
// Reading half: descriptor.go, registry.go, decode.go, load.go, restore.go.
package podder
