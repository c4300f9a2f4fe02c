//go:build race

package podder

// mayLookAhead is off: the race detector would take a look at memory for a use of it.
const mayLookAhead = false
