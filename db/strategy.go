package db

import (
	"reflect"

	"github.com/poddb/poddb/podder"
)

// Strategy says where saves cut what is new into pods; see Options.Strategy.
type Strategy = podder.Strategy

// StrategyChoice is what a Strategy is asked about.
type StrategyChoice = podder.Choice

// PieceSize is a part of a StrategyChoice.
type PieceSize = podder.PieceSize

// Learned is the default strategy: pods are filled up to Options.PodTargetBytes, but what
// the stored history says changes apart from the rest begins pods of its own.
func Learned() Strategy { return podder.Learned() }

// BundleAll fills pods up to eight times Options.PodTargetBytes: least overhead, most that
// is stored again with each change.
func BundleAll() Strategy { return podder.BundleAll() }

// SplitAll gives each object, array and map a pod of its own.
func SplitAll() Strategy { return podder.SplitAll() }

// ByType begins pods at values of the types given (elements, of slices); without any, at
// slices and maps.
func ByType(types ...reflect.Type) Strategy { return podder.ByType(types...) }

// RandomStrategy tosses a coin wherever a pod could begin. It is for comparison.
func RandomStrategy(seed uint64) Strategy { return podder.Random(seed) }

// Greedy is the rule of Chipmink (PVLDB 19), with one rate for all objects: the share of
// commits that change one.
func Greedy(rate float64) Strategy { return podder.Greedy(rate) }
