package lint

import (
	"os"
	"testing"
)

// What is let through, each with its reason.
var (
	// Podder walks and fills Go memory by plan: the walk, the encoder, the
	// decoder, and the state that knows regions by address. Nobody else has a
	// reason to.
	mayUseUnsafe = []string{
		"internal/offheap/arena.go",
		"internal/prefetch/lines_asm.go",
		"internal/prefetch/lines_other.go",
		"internal/prefetch/prefetch.go",
		"podder/cell.go",
		"podder/chunk_contents.go",
		"podder/chunk_load.go",
		"podder/chunk_patch.go",
		"podder/codec_load.go",
		"podder/codec_reflect.go",
		"podder/codec_store.go",
		"podder/codec_time.go",
		"podder/codec_typed.go",
		"podder/codecs.go",
		"podder/decode_array.go",
		"podder/decode_convert.go",
		"podder/decode_fixed.go",
		"podder/decode_interface.go",
		"podder/decode_map.go",
		"podder/decode_map_ahead.go",
		"podder/decode_map_group.go",
		"podder/decode_map_typed.go",
		"podder/decode_plan.go",
		"podder/decode_reference.go",
		"podder/decode_reshape.go",
		"podder/decode_slot.go",
		"podder/decode_types.go",
		"podder/decode_value.go",
		"podder/discover.go",
		"podder/discover_ahead.go",
		"podder/discover_glance.go",
		"podder/discover_map.go",
		"podder/discover_map_keyed.go",
		"podder/discover_map_plain.go",
		"podder/discover_meet.go",
		"podder/discover_region.go",
		"podder/discover_settle.go",
		"podder/discover_write.go",
		"podder/encode_ahead.go",
		"podder/encode.go",
		"podder/encode_map.go",
		"podder/encode_slot.go",
		"podder/encode_small.go",
		"podder/encode_values.go",
		"podder/fetch.go",
		"podder/forwards.go",
		"podder/fingerprint.go",
		"podder/fingerprints.go",
		"podder/hash.go",
		"podder/hooks_run.go",
		"podder/load_first.go",
		"podder/loader.go",
		"podder/map_memory.go",
		"podder/needs.go",
		"podder/migrate.go",
		"podder/opaque.go",
		"podder/opaque_load.go",
		"podder/order.go",
		"podder/own_memory.go",
		"podder/pinned.go",
		"podder/plan.go",
		"podder/ref.go",
		"podder/ref_load.go",
		"podder/ref_save.go",
		"podder/plan_dynamic.go",
		"podder/problem.go",
		"podder/problem_path.go",
		"podder/region.go",
		"podder/region_index.go",
		"podder/refused_values.go",
		"podder/released.go",
		"podder/resave_ahead.go",
		"podder/resave_early.go",
		"podder/resave_met.go",
		"podder/restore.go",
		"podder/scalar.go",
		"podder/sentinel.go",
		"podder/shadow.go",
		"podder/state.go",
		"podder/string_slab.go",
	}
	// The process's clock and random source as the defaults of an option, and the
	// log's idle timer, which Options.IdlePromise turns off.
	mayUseClock = []string{"pager/create.go", "wal/wal.go", "wal/alarm.go"}
	// State of the process: types registered before Open, the files it has locked,
	// and memory that it has from the system.
	mayKeepState = []string{"db.registered", "internal/offheap.spare", "internal/vfs.processLocks"}
	// Panics that no bytes can reach: both guard what the function's own caller
	// set up (a type switch over a closed set; the place a record is written to).
	mayPanic = []string{"internal/trace.decodeElems", "wal.rewrite"}
)

func loadTree(t *testing.T) *Tree {
	t.Helper()
	tree, err := Load(os.DirFS("../.."))
	if err != nil {
		t.Fatal(err)
	}
	if len(tree.Files) < 20 {
		t.Fatalf("only %d Go files found", len(tree.Files))
	}
	return tree
}

func TestTree(t *testing.T) {
	tree := loadTree(t)
	for _, rule := range []struct {
		name  string
		check func(*Tree) []Finding
	}{
		{"layers", Layers},
		{"files", Files},
		{"panics", Panics(mayPanic)},
		{"unsafe", Unsafe(mayUseUnsafe)},
		{"ambient", Ambient(mayUseClock)},
		{"state", State(mayKeepState)},
		{"documents", Documents},
		{"words", Words},
	} {
		t.Run(rule.name, func(t *testing.T) {
			for _, f := range rule.check(tree) {
				t.Error(f)
			}
		})
	}
}

func TestLengthReport(t *testing.T) {
	for _, f := range Length(loadTree(t)) {
		t.Log(f)
	}
}
