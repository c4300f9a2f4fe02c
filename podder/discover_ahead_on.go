//go:build !race

package podder

// mayTouch says that memory may be read only to have it in the cache.
const mayTouch = true
