// Package mvcc keeps every version of every pod. It knows pods as ids and
// bytes, never as Go types: a transaction (Tx) takes changed pods from above
// and becomes one commit; a Snapshot gives back merged pods as of any version.
//
// # Words
//
// A line is the run of commits made on one branch since it was created. A pod
// version has a number, dense over the whole database and in commit order,
// one birth and one life on its line: it ends when the pod is written again
// there. A snapshot is (line, highest number at its commit) plus the lineage,
// the same for each line that it forked from. Resolving a pod is one seek per
// line of the lineage; the first hit wins.
//
// # Reading guide
//
//	sequencer.go   the protocol of a commit, with its invariants; then
//	combine.go     who sequences whom;
//	commit.go      what is in a commit, validate.go what it is checked against
//	group.go       what it does to the index, and how it travels in the log
//	view.go        how readers see page file and overlays as one index
//	resolve.go     how a snapshot finds pods and names
//	stream.go      how big commits are written once, extents.go how they are recovered
//	reserve.go     why a checkpoint finds room on a full disk
//	pressure.go    how commits are held back while too much waits for a checkpoint
//	checkpoint.go  how the overlay gets into the page file; block.go, pack.go
//	               what contents look like there, blocklife.go and compact.go how
//	               space comes back
//	durability.go  when a commit is answered, and what each level may lose
//	token.go       how an unknown outcome is looked up later
//	budget.go      who gets how much memory
//	open.go        creation, recovery, and the order of first writes
//	keys.go        every row of the index; row.go, frame.go, setcodec.go,
//	               envelope.go, line.go, counters.go what is in them
//	aggregate.go   the set algebra on commits; history.go the set of a version
//	retire.go      how versions end, fold.go what is left of them; reclaim.go how
//	               what only they needed is deleted; prune.go both for the user
//	changed.go     the pods in which versions differ; watchnames.go the names, nameindex.go
//	               how they are found without looking at all
//	verify.go      what must hold, checked
//	stats.go, events.go  what the store tells about itself
//
// docs/format.md has the bytes and the argument why a commit is safe.
package mvcc
