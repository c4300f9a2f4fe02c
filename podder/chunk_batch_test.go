package podder

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"testing"

	"github.com/zeebo/xxh3"

	"github.com/poddb/poddb/internal/pod"
)

// batchTx is a fakeTx that notes what it is given in advance, and refuses what
// changed until it is put.
type batchTx struct {
	*fakeTx
	batches, most int
	under         int // prepared and not put
	failFrom      int // the batch that is refused; 0 = none
}

func (b *batchTx) Prepare(changes []pod.Change) (put func(context.Context) error) {
	b.batches++
	b.under++
	b.most = max(b.most, b.under)
	number := b.batches
	given := sumOf(changes)
	return func(ctx context.Context) error {
		b.under--
		if number == b.failFrom {
			return errRefused
		}
		if sumOf(changes) != given {
			return fmt.Errorf("batch %d changed between Prepare and put", number)
		}
		for i := range changes {
			if err := b.Put(ctx, &changes[i]); err != nil {
				return err
			}
		}
		return nil
	}
}

var errRefused = errors.New("refused")

func sumOf(changes []pod.Change) xxh3.Uint128 {
	h := xxh3.New()
	for i := range changes {
		fmt.Fprintln(h, changes[i].ID, changes[i].Slots[0].Data.Runs)
		h.Write(changes[i].Slots[0].Data.Bytes)
	}
	return h.Sum128()
}

// flatBox has several containers that fill batches of chunks.
type flatBox struct {
	Long  []float64
	Bytes []byte
	More  []float64
	Text  string
	Few   []uint16
}

func newFlatBox() *flatBox {
	r := rand.New(rand.NewPCG(4, 2))
	x := &flatBox{Long: make([]float64, 3*chunkBatchBytes/8), More: make([]float64, chunkBatchBytes/8+999), Few: make([]uint16, 50_000)}
	for i := range x.Long {
		x.Long[i] = r.Float64()
	}
	copy(x.More, x.Long[777:]) // finds chunks of Long
	for i := range x.Few {
		x.Few[i] = uint16(r.Uint32())
	}
	x.Text = randomText(r, 300_000)
	x.Bytes = []byte(randomText(r, chunkBatchBytes+12_345))
	return x
}

// A sink that prepares changes gets the pods that another one gets, of memory
// that stays as it is until they are put, and never more than two batches ahead.
func TestChunksArePreparedBeforeTheyArePut(t *testing.T) {
	x := newFlatBox()
	plain, prepared := newFakeStore(), newFakeStore()
	mustSave(t, mustGraph(t, plain.config()), plain, "x", x)
	tx := &batchTx{fakeTx: prepared.begin()}
	saved, err := mustGraph(t, prepared.config()).Save(context.Background(), rootsOf("x", x), tx)
	if err != nil {
		t.Fatal(err)
	}
	if err := tx.commit(); err != nil {
		t.Fatal(err)
	}
	saved.Commit()
	if tx.batches < 4 || tx.most != 2 || tx.under != 0 {
		t.Errorf("%d batches, at most %d under way, %d left", tx.batches, tx.most, tx.under)
	}
	if len(plain.pods) != len(prepared.pods) {
		t.Fatalf("%d pods, without Prepare %d", len(prepared.pods), len(plain.pods))
	}
	for id, p := range plain.pods {
		if !pod.Equal(p, prepared.pods[id]) {
			t.Fatalf("pod %d differs", id)
		}
	}
}

// A sink may refuse any batch.
func TestARefusedBatchFailsTheSave(t *testing.T) {
	x := newFlatBox()
	for n := 1; n < 5; n++ {
		s := newFakeStore()
		g := mustGraph(t, s.config())
		tx := &batchTx{fakeTx: s.begin(), failFrom: n}
		if _, err := g.Save(context.Background(), rootsOf("x", x), tx); !errors.Is(err, errRefused) {
			t.Fatalf("batch %d was refused: %v", n, err)
		}
		mustSave(t, g, s, "x", x)
		mustStayQuiet(t, g, s, "x", x)
	}
}
