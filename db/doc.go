// Package db is an embedded, transactional, versioned database for ordinary
// Go object graphs. A program opens one file, hands over live values (structs,
// slices, maps, pointers, cycles, shared references, unexported fields) and
// saves; db finds out which parts changed, stores only those, and keeps every
// past version readable.
//
//	d, err := db.Open(ctx, "app.pod", nil)
//	ns, err := d.Namespace(ctx, "main")
//	err = ns.Set(ctx, "x", x)      // x is a pointer or a map
//	v1, err := ns.Save(ctx)        // durable when it returns
//	x.Items = append(x.Items, y)
//	v2, err := ns.Save(ctx)        // writes what changed
//
//	s, err := d.At(ctx, v1)        // read-only, for many goroutines
//	defer s.Close()
//	old, err := db.Get[*List](ctx, s, "x")
//
// # Live values and copies
//
// A Namespace holds live variables: Get returns the object itself, and Save
// reads everything that is reachable from it. Nothing may write those objects
// while Save runs. A Snapshot gives private copies; what two variables share
// is shared again when they are loaded in one call.
//
// # Transactions
//
// Update runs a function in a transaction, on private copies, commits what it
// changed, and runs it again after a conflict with another commit; Begin gives a
// transaction to commit by hand, View a snapshot. Transactions are serializable
// unless TxOptions say otherwise. docs/guarantees.md says what exactly is
// promised.
//
// # Types
//
// Types reachable from the static type of a variable need no preparation. A
// concrete type that is met behind an interface must be one a later process
// can know: predeclared, registered (Options.Types or Register), or reachable
// from the variable's static type. Save refuses others with ErrUnregistered
// and names the call.
//
// # Errors
//
// Every error can be tested with errors.Is against the Err values of this
// package; some carry detail for errors.As (CorruptError, ConflictError,
// LockedError, UnsupportedError). After a failed sync the database refuses
// writes with ErrPoisoned until it is reopened, and the commit in doubt
// returns ErrCommitUnknown: after reopening it is wholly there or wholly
// absent.
package db
