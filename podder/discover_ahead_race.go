//go:build race

package podder

// mayTouch is off: the race detector would take a look at memory for a use of it.
const mayTouch = false
