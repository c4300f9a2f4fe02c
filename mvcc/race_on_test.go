//go:build race

package mvcc

// underRace says that the race detector's own memory is part of the process's.
const underRace = true
