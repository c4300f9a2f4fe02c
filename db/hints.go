package db

import "github.com/poddb/poddb/podder"

// HintSource tells saves of namespaces which memory was not written; see Options.Hints.
type HintSource = podder.HintSource

// MemoryRange is memory, from an address up to another one without that. It keeps nothing
// alive.
type MemoryRange = podder.MemoryRange

// MemoryOf returns the memory of the elements of a slice, up to its length, as a
// HintSource speaks of it.
func MemoryOf[T any](s []T) MemoryRange { return podder.MemoryOf(s) }
