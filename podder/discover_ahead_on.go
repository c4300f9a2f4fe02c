//go:build !race

package podder

// mayLookAhead says that what siblings refer to may be read before they are visited.
const mayLookAhead = true
