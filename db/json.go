package db

import (
	"context"
	"io"

	"github.com/poddb/poddb/podder"
)

// JSONOptions refines WriteJSON.
type JSONOptions = podder.JSONOptions

// WriteJSON writes the object at a path such as x.Items[3].Name or m["key"]
// as JSON, without the program's types: descriptors stored in the database say
// how to read it. An object met a second time is {"$ref": path of the first}.
func (s *Snapshot) WriteJSON(ctx context.Context, w io.Writer, path string, o JSONOptions) error {
	return s.d.named(podder.WriteJSON(ctx, s.sn, w, path, o))
}

// TypeOf returns the stored type of a variable as text.
func (s *Snapshot) TypeOf(ctx context.Context, name string) (string, error) {
	text, err := podder.TypeText(ctx, s.sn, name)
	return text, s.d.named(err)
}
