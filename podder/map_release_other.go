//go:build go1.27

package podder

const mapsOfThisGo = false
