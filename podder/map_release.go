//go:build !go1.27

package podder

// mapsOfThisGo says that maps of this release of Go may be filled as memory, if that
// passes its test: their layout was looked up in its source.
const mapsOfThisGo = true
