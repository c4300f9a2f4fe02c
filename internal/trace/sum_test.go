package trace

import (
	"bytes"
	"math"
	"slices"
	"strings"
	"testing"
)

// Each damage is one thing that a store could get wrong; the check must name it
// and where.
func TestSumFindsEveryKindOfDamage(t *testing.T) {
	all := func(v map[string]any, i int) any { return v["all"].(*List).Items[i] }
	damages := []struct {
		name  string
		wreck func(v map[string]any)
		want  string
	}{
		{"shared object copied", func(v map[string]any) {
			l := v["cycle"].(*List)
			l.Items[2] = &Dict{slices.Clone(l.Items[1].(*Dict).Entries)}
		}, "cycle.Items[2]: lost sharing"},
		{"cycle opened", func(v map[string]any) {
			l := v["cycle"].(*List)
			l.Items[0] = &List{slices.Clone(l.Items)}
		}, "cycle.Items[0]: lost sharing"},
		{"object shared between variables copied", func(v map[string]any) {
			s := v["series"].(*Series)
			a := *s.Data.(*Array[float64])
			a.Data = slices.Clone(a.Data)
			s.Data = &a
		}, "lost sharing"},
		{"two objects made one", func(v map[string]any) {
			n := all(v, 2).(*Object)
			n.Values[0].(*Object).Values[0] = n.Values[0]
		}, "aliasing"},
		{"equal objects made one", func(v map[string]any) {
			more := v["more"].(*List)
			more.Items[0] = more.Items[1]
		}, "aliasing"},
		{"two lists on one backing array", func(v map[string]any) {
			o := all(v, 2).(*Object)
			o.Values[0].(*Object).Values = append(o.Values[:1:1], int64(2))
			o.Values = append(o.Values[:0:0], o.Values...)
			back := make([]any, 4)
			copy(back, o.Values)
			copy(back[2:], o.Values[0].(*Object).Values)
			next := o.Values[0].(*Object)
			next.Values = []any{o, int64(2)}
			copy(back[2:], next.Values)
			o.Values, next.Values = back[:2], back[2:4]
		}, "share a backing array"},
		{"view with its own memory", func(v map[string]any) {
			w := v["views"].(*View[float64])
			w.Data = slices.Clone(w.Data)
		}, "views: view does not share"},
		{"view moved", func(v map[string]any) {
			w := v["views"].(*View[float64])
			w.Data = w.Owner.(*Array[float64]).Data[1:5]
		}, "views: view does not share"},
		{"view of another offset", func(v map[string]any) { v["views"].(*View[float64]).Offset = 8 }, "offset"},
		{"view of another stride", func(v map[string]any) { v["views"].(*View[float64]).Strides[0] = 16 }, "strides"},
		{"number", func(v map[string]any) { v["cycle"].(*List).Items[5] = int64(-6) }, "cycle.Items[5]: recorded int64 -5, found int64 -6"},
		{"type of a number", func(v map[string]any) { v["cycle"].(*List).Items[5] = -5.0 }, "cycle.Items[5]: recorded int64 -5, found float64 -5"},
		{"Go type of a number", func(v map[string]any) { v["cycle"].(*List).Items[5] = -5 }, "cycle.Items[5]: recorded int64 -5, found a int"},
		{"bool", func(v map[string]any) { v["cycle"].(*List).Items[4] = false }, "cycle.Items[4]"},
		{"nil", func(v map[string]any) { v["cycle"].(*List).Items[3] = false }, "cycle.Items[3]: recorded nil"},
		{"nil pointer", func(v map[string]any) { v["cycle"].(*List).Items[1] = (*Dict)(nil) }, "cycle.Items[1]: recorded object 2"},
		{"nil array", func(v map[string]any) { v["series"].(*Series).Data = (*Array[float64])(nil) }, "series.Data: recorded object 9"},
		{"big number", func(v map[string]any) {
			v["cycle"].(*List).Items[1].(*Dict).Entries[2].Val = BigInt{"123456789012345678901234567891"}
		}, "Entries[2].Val"},
		{"short string", func(v map[string]any) { v["cycle"].(*List).Items[1].(*Dict).Entries[0].Key = "K" }, "Entries[0].Key"},
		{"long string", func(v map[string]any) { v["cycle"].(*List).Items[1].(*Dict).Entries[0].Val.(*Str).S += "!" }, "Entries[0].Val: text differs"},
		{"order of a dictionary", func(v map[string]any) {
			e := v["cycle"].(*List).Items[1].(*Dict).Entries
			e[0], e[1] = e[1], e[0]
		}, "Entries[0]"},
		{"element lost", func(v map[string]any) { l := v["cycle"].(*List); l.Items = l.Items[:6] }, "cycle: recorded 7 elements, found 6"},
		{"element won", func(v map[string]any) { l := v["cycle"].(*List); l.Items = append(l.Items, nil) }, "cycle: recorded 7 elements, found 8"},
		{"bytes", func(v map[string]any) { all(v, 0).(*Bytes).S = "\x00\xfe" }, "all.Items[0]: bytes"},
		{"byte array", func(v map[string]any) { all(v, 1).(*ByteArray).B[0]++ }, "all.Items[1]: bytes"},
		{"kind", func(v map[string]any) { v["all"].(*List).Items[0] = &ByteArray{[]byte("\x00\xff")} }, "kind 'y', found a *trace.ByteArray"},
		{"tuple for list", func(v map[string]any) { v["cycle"] = &Tuple{v["cycle"].(*List).Items} }, "cycle: recorded object 1 of kind 'l'"},
		{"set for frozen set", func(v map[string]any) { v["all"].(*List).Items[6] = &Set{[]any{"f"}} }, "kind 'z'"},
		{"class", func(v map[string]any) { all(v, 2).(*Object).Class = &Class{"prog.Other", []string{"next", "value"}} }, "class name"},
		{"attribute", func(v map[string]any) { all(v, 2).(*Object).Class = &Class{"prog.Node", []string{"next", "valve"}} }, "attribute name"},
		{"attributes", func(v map[string]any) { all(v, 2).(*Object).Class = &Class{"prog.Node", []string{"next"}} }, "other attributes"},
		{"not a number", func(v map[string]any) {
			v["series"].(*Series).Data.(*Array[float64]).Data[5] = math.Float64frombits(math.Float64bits(math.NaN()) ^ 1<<51)
		}, "data differs"},
		{"dtype", func(v map[string]any) { v["series"].(*Series).Data.(*Array[float64]).DType = ">f8" }, "dtype"},
		{"shape", func(v map[string]any) { v["series"].(*Series).Data.(*Array[float64]).Dims[0] = 3 }, "shape"},
		{"rows", func(v map[string]any) { v["frame"].(*Frame).Rows = 3 }, "frame: number of rows"},
		{"column name", func(v map[string]any) { v["frame"].(*Frame).Columns[1].Name = "c" }, "frame.Columns[1].Name"},
		{"opaque type", func(v map[string]any) { all(v, 4).(*Opaque).Type = "module" }, "type name"},
		{"variable lost", func(v map[string]any) { delete(v, "num") }, `variable "num" is missing`},
		{"variable won", func(v map[string]any) { v["num2"] = nil }, `variable "num2" is not recorded`},
		{"variable", func(v map[string]any) { v["num"] = int64(70) }, "num: recorded int64 7"},
		{"wrapped variable", func(v map[string]any) { v["none"].(*Var).Value = false }, "none: recorded nil"},
	}
	first := readAll(t, mustOpen(t, synthetic()))[0]
	for _, d := range damages {
		w, rec := NewWorld(), NewRecording()
		if err := w.Apply(first); err != nil {
			t.Fatal(err)
		}
		if err := rec.Apply(first); err != nil {
			t.Fatal(err)
		}
		if _, err := Sum(w.Vars, rec); err != nil {
			t.Fatal(err)
		}
		d.wreck(w.Vars)
		_, err := Sum(w.Vars, rec)
		if err == nil || !strings.Contains(err.Error(), d.want) {
			t.Errorf("%s: got %v, want ...%s...", d.name, err, d.want)
		}
	}
}

func TestNegativeZeroIsNotZero(t *testing.T) {
	w, rec := NewWorld(), NewRecording()
	for _, s := range readAll(t, mustOpen(t, synthetic())) {
		if err := w.Apply(s); err != nil {
			t.Fatal(err)
		}
		if err := rec.Apply(s); err != nil {
			t.Fatal(err)
		}
	}
	l := w.Vars["cycle"].(*List)
	if l.Items[2] = any(0.0); l.Items[2] != any(math.Copysign(0, -1)) {
		t.Fatal("Go tells them apart with ==")
	}
	if _, err := Sum(w.Vars, rec); err == nil {
		t.Fatal("0 accepted for -0")
	}
}

// A Recording one step older or newer is another state.
func TestSumTellsVersionsApart(t *testing.T) {
	r, err := Open(Sample())
	if err != nil {
		t.Fatal(err)
	}
	w, rec := NewWorld(), NewRecording()
	for _, s := range readAll(t, r) {
		if err := w.Apply(s); err != nil {
			t.Fatal(err)
		}
		if rec.Step > 0 && (len(s.Objects) > 0 || len(s.Vars) > 0 || len(s.Deleted) > 0) {
			if _, err := Sum(w.Vars, rec); err == nil {
				t.Fatalf("step %d accepted as step %d", s.Number, rec.Step)
			}
		}
		if err := rec.Apply(s); err != nil {
			t.Fatal(err)
		}
	}
}

func BenchmarkSum(b *testing.B) {
	w, rec := replay(b, bytes.NewReader(sample))
	b.ReportAllocs()
	for b.Loop() {
		if _, err := Sum(w.Vars, rec); err != nil {
			b.Fatal(err)
		}
	}
	b.ReportMetric(float64(rec.Len())*float64(b.N)/b.Elapsed().Seconds(), "objects/s")
}
