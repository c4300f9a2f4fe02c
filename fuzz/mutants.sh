#!/usr/bin/env bash
# Plants one bug at a time and says which test notices it.
#
#   fuzz/mutants.sh              all mutants
#   fuzz/mutants.sh wal-sync …   some of them
#   fuzz/mutants.sh -l           their names
#
# A mutant is a file, a text in it that occurs once, and what takes its place.
# The tree is not touched: go test -overlay compiles the changed copy. First
# the campaign runs that should notice it, by default the crash campaign. A
# mutant that gets through goes on to the other campaigns, the tests of db and
# those of its own package. One line per mutant:
#
#   killed <name> by <test>   or   SURVIVED <name>
#
# The exit code is 1 if a mutant survived. The
# table in docs/testing.md is made from this output; a new sync or check in the
# code gets a mutant here.
set -u
cd "$(dirname "$0")/.."
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

names=()
declare -A file from to first
mutant() { # name file from to [the tests that should notice it]
	names+=("$1")
	file[$1]=$2 from[$1]=$3 to[$1]=$4 first[$1]=${5-./fuzz -run ^TestCrash}
}

mutant wal-sync wal/log.go \
	$'if err == nil && wantSync {\n\t\terr = l.w.sync()' \
	$'if err == nil && wantSync {\n\t\tl.w.synced, l.w.promised = l.w.at, l.w.pending'
mutant wal-segment-sync wal/writer.go \
	'if err = f.Sync(); err != nil {' 'if err != nil {'
mutant wal-segment-dir-sync wal/writer.go \
	$'if err := o.FS.SyncDir(o.Dir); err != nil {\n\t\tf.Close()' \
	$'if err := error(nil); err != nil {\n\t\tf.Close()'
mutant wal-parent-dir-sync wal/recover.go \
	'if err := o.FS.SyncDir(path.Dir(o.Dir)); err != nil {' 'if err := error(nil); err != nil {'
mutant wal-seal-sync wal/segment.go \
	$'if err := f.SyncData(); err != nil {\n\t\treturn &syncError{err}\n\t}\n\treturn nil\n}\n\n// endRecord' \
	$'return nil\n}\n\n// endRecord'
mutant wal-write-again wal/recover.go \
	$'for q.at < t.end {\n\t\tr, err := q.again()' $'for q.at < t.promised {\n\t\tr, err := q.again()'
mutant wal-old-segment-first wal/recover.go \
	'if q.at == last.first {' 'if false {'
mutant wal-promise-check wal/recover.go \
	'synced > t.end {' 'synced < 0*t.end {'
mutant wal-same-salt wal/writer.go \
	'info.salt, info.identity = o.Rand(), o.Identity' 'info.salt, info.identity = 7, o.Identity'
mutant wal-previous-crc wal/reader.go \
	'if r.prev != q.prev {' 'if false {'
mutant wal-remove-newest-first wal/release.go \
	'for _, n := range numbers {' $'for i := range numbers {\n\t\tn := numbers[len(numbers)-1-i]'
mutant pager-data-sync pager/batch.go \
	'if b.unsynced > 0 || p.size.Load() > b.startSize {' 'if false {'
mutant pager-meta-sync pager/pager.go \
	$'if err := p.file.SyncData(); err != nil {\n\t\treturn p.fail(fmt.Errorf("syncing %s: %w", p.path, err))\n\t}\n\tp.slots[slot] = m\n\treturn nil\n}\n\n// restoreSlot' \
	$'p.slots[slot] = m\n\treturn nil\n}\n\n// restoreSlot'
mutant pager-create-sync pager/create.go \
	'return file.Sync()' 'return nil'
mutant pager-create-dir-sync pager/create.go \
	'err := o.FS.SyncDir(path.Dir(o.Path))' 'err := error(nil); _ = path.Dir'
mutant pager-open-rewrites pager/open.go \
	'if !o.ReadOnly && !p.settled() {' 'if false {'
mutant pager-reuse-early pager/batch.go \
	'if f.generation > oldest {' 'if f.generation > oldest+1 {'
mutant mvcc-mark-unclean mvcc/open.go \
	'if err := s.pager.MarkUnclean(ctx); err != nil {' 'if err := error(nil); err != nil {'
mutant mvcc-release-early mvcc/checkpoint.go \
	'log.Release(wal.LSN(s.pager.State().OldestLog))' 'log.Release(wal.LSN(s.pager.State().OldestLog) + 1<<40)'
mutant mvcc-visible-early mvcc/checkpoint.go \
	'if err := b.Commit(ctx, s.check.frozenAt.Load(), clean); err != nil {' \
	'if err := b.Commit(ctx, s.check.frozenAt.Load()+512, clean); err != nil {'

# Checks of what is read, and the answers to errors.
mutant pager-page-checksum pager/pager.go \
	'got != r.crc || got != uint32(b[0])' 'got == 0 && got != uint32(b[0])' './fuzz -run ^TestDamage'
mutant pager-record-checksum pager/view.go \
	'got != pl.CRC' 'got == 0 && got != pl.CRC' './fuzz -run ^TestDamage'
mutant pager-meta-checksum pager/meta.go \
	'got != want {' 'got == want+1 {' './fuzz -run ^TestDamage'
mutant wal-record-checksum wal/reader.go \
	'crc != r.crc {' 'crc == 0 && crc != r.crc {' './fuzz -run ^TestDamage'
mutant wal-segment-checksum wal/segment.go \
	'case le.Uint32(b[12:]) != segmentCRC(b):' 'case false:' './fuzz -run ^TestDamage'
mutant pager-file-size pager/open.go \
	'p.size.Load() < need {' 'p.size.Load() < 0*need {' './fuzz -run ^TestDamage'
mutant pager-lock pager/open.go \
	'if err := lock(o, file); err != nil {' 'if err := error(nil); err != nil {' ./db
mutant pager-too-new pager/open.go \
	'states[0] == slotTooNew ||' 'false ||' ./db
mutant mvcc-log-missing mvcc/open.go \
	'case !exists && st.Clean:' 'case !exists:' ./db
mutant pager-lock-info pager/create.go \
	'locked.PID = pid' '_ = pid' ./db
mutant wal-read-error-is-end wal/reader.go \
	$'if b, err = s.bytes(off, size); err != nil {\n\t\treturn r, "", err' $'if b, err = s.bytes(off, size); err != nil {\n\t\treturn r, "unreadable", nil' ./db
mutant wal-writes-when-poisoned mvcc/store.go \
	$'err := s.writeError()\n\tif err == nil {' $'err := error(nil)\n\tif err == nil {' ./db
mutant wal-no-poison wal/log.go \
	'if l.poison == nil {' 'if false {' './fuzz -run ^TestFault'
mutant wal-sync-error-ignored wal/writer.go \
	$'if err := w.f.SyncData(); err != nil {\n\t\treturn &syncError{err}\n\t}\n\tw.synced, w.promised = w.at, w.pending\n\treturn nil\n}\n\n// append' \
	$'_ = w.f.SyncData()\n\tw.synced, w.promised = w.at, w.pending\n\treturn nil\n}\n\n// append' './fuzz -run ^TestFault'
mutant wal-undo-without-cut wal/writer.go \
	$'if err := w.f.Truncate(off); err != nil {' $'if err := error(nil); err != nil {' './fuzz -run ^TestFault'
mutant pager-sync-error-ignored pager/batch.go \
	$'if err := p.file.SyncData(); err != nil {\n\t\tp.mu.Lock()' $'if err := p.file.SyncData(); err != nil \x26\x26 b == nil {\n\t\tp.mu.Lock()' './fuzz -run ^TestFault'
mutant mvcc-undone-not-rewound mvcc/sequencer.go \
	$'map[uint32]*window{}\n\t\ts.rewind()' $'map[uint32]*window{}' './fuzz -run ^TestFault'

[ "${1-}" = -l ] && { printf '%s\n' "${names[@]}"; exit; }
[ $# -gt 0 ] && names=("$@")

# noticed runs tests on the mutant and prints the first that fails.
noticed() { # overlay, packages and flags…
	local overlay=$1 out=$work/out
	shift
	if go test -overlay "$overlay" -failfast -timeout 8m "$@" >"$out" 2>&1; then
		return 1
	fi
	if grep -q 'build failed' "$out"; then
		echo "NOTHING, it does not build: $(grep -m1 '\.go:' "$out")"
	else
		echo "$(grep -om1 -- '--- FAIL: [A-Za-z0-9_/]*\|^panic: .*' "$out" | sed 's/--- FAIL: //' | cut -c1-100)" \
			"| $(grep -A9 -m1 -- '--- FAIL' "$out" | grep '_test\.go:' | tail -n1 | sed 's/^ *//' | cut -c1-160)"
	fi
}

# Nothing is proven by tests that fail on the code as it is.
echo '{}' >"$work/none.json"
if by=$(noticed "$work/none.json" ./fuzz ./db); then
	echo "the tests fail without a mutant: $by"
	exit 2
fi

survived=0
for n in "${names[@]}"; do
	[ -n "${file[$n]-}" ] || { echo "no mutant $n"; exit 2; }
	text=$(cat "${file[$n]}"; echo x) text=${text%x}
	rest=${text#*"${from[$n]}"}
	if [ "$rest" = "$text" ] || [ "${rest#*"${from[$n]}"}" != "$rest" ]; then
		echo "STALE $n: its text does not occur once in ${file[$n]}"
		survived=1
		continue
	fi
	printf '%s' "${text%%"${from[$n]}"*}${to[$n]}$rest" >"$work/mutant.go"
	printf '{"Replace":{"%s":"%s"}}\n' "$PWD/${file[$n]}" "$work/mutant.go" >"$work/overlay.json"
	if by=$(noticed "$work/overlay.json" ${first[$n]}) ||
		by=$(noticed "$work/overlay.json" ./fuzz) ||
		by=$(noticed "$work/overlay.json" ./db) ||
		by=$(noticed "$work/overlay.json" "./$(dirname "${file[$n]}")"); then
		echo "killed $n by $by"
		[ "${by#NOTHING}" = "$by" ] || survived=1
	else
		echo "SURVIVED $n"
		survived=1
	fi
done
exit $survived
