package podder

import (
	"reflect"
	"testing"
)

type rpDoc struct {
	Body  *rpBody
	Count *stCount
	Parts []*rpBody
}

type rpBody struct{ Text string }

// Objects of full pods get a small part each: the parts share pods, whether the save walks
// or not.
func TestPartsOfFullPodsShareOthers(t *testing.T) {
	for name, index := range map[string]bool{"with a walk": false, "without": true} {
		t.Run(name, func(t *testing.T) {
			s := newFakeStore()
			cfg := indexed(s)
			cfg.Index = index
			g := mustGraph(t, cfg)
			all := make([]*rpDoc, 2000)
			for i := range all {
				all[i] = &rpDoc{Body: &rpBody{string(make([]byte, 100))}}
			}
			mustSave(t, g, s, "x", &all)
			mustStayQuiet(t, g, s, "x", &all)
			before := len(s.pods)
			for _, d := range all {
				d.Parts = make([]*rpBody, 3)
				d.Count = &stCount{1}
			}
			mustSave(t, g, s, "x", &all)
			if more := len(s.pods) - before; more == 0 || more > 10 {
				t.Errorf("%d pods for what fits in 3, beside %d", more, before)
			}
			stBounded(t, s, DefaultTargetBytes)
			mustStayQuiet(t, g, s, "x", &all)
			_, vs := reload(t, s, cfg, "x", &all)
			if err := isomorphic(reflect.ValueOf(&all), vs[0]); err != nil {
				t.Fatal(err)
			}
		})
	}
}
