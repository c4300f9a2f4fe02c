//go:build !race

package podder

import "github.com/zeebo/xxh3"

// hashBody hashes bytes that may be the program's own memory.
func (e *engine) hashBody(b []byte) uint64 { return xxh3.HashSeed(b, e.seed) }

// hashBody128 is hashBody with a longer hash.
func (e *engine) hashBody128(b []byte) xxh3.Uint128 { return xxh3.Hash128Seed(b, e.seed) }
