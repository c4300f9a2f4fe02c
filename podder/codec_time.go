package podder

import (
	"encoding/binary"
	"errors"
	"fmt"
	"path"
	"reflect"
	"sync"
	"time"
	"unsafe"
)

var timeType = reflect.TypeFor[time.Time]()

// timeCodec stores a time.Time as instant and location, without the monotonic
// reading:
//
//	byte zone kind, zz seconds since 1970 UTC, uv nanoseconds,
//	UTC and Local: nothing more
//	named: uv len + IANA name, zz offset in seconds at the instant
//	fixed: uv len + name, zz offset in seconds
//
// The offset of a named zone is for readers without zone data: they get a
// fixed zone of that name, so that instant and printed time stay right.
type timeCodec struct{ zones *zones }

const (
	zoneUTC byte = iota
	zoneLocal
	zoneNamed
	zoneFixed
)

const maxZoneName = 255

func (timeCodec) name() string    { return "time.Time" }
func (timeCodec) version() uint64 { return 1 }

func (c timeCodec) append(dst []byte, p unsafe.Pointer) ([]byte, error) {
	t := *(*time.Time)(p)
	loc := t.Location()
	kind := zoneUTC
	switch {
	case loc == time.UTC:
	case loc == time.Local:
		kind = zoneLocal
	case c.zones.isNamed(loc):
		kind = zoneNamed
	default:
		kind = zoneFixed
	}
	dst = append(dst, kind)
	dst = binary.AppendVarint(dst, t.Unix())
	dst = binary.AppendUvarint(dst, uint64(t.Nanosecond()))
	if kind == zoneUTC || kind == zoneLocal {
		return dst, nil
	}
	name := loc.String()
	_, offset := t.Zone()
	if len(name) > maxZoneName {
		return dst, longZone(name)
	}
	dst = binary.AppendUvarint(dst, uint64(len(name)))
	dst = append(dst, name...)
	return binary.AppendVarint(dst, int64(offset)), nil
}

// longZone is the error for the name of a location that is longer than maxZoneName.
func longZone(name string) error {
	return fmt.Errorf("its location has a name of %d bytes, more than the %d that can be stored: use one with a shorter name, or skip the field with the tag `pod:\"-\"`", len(name), maxZoneName)
}

func (c timeCodec) decode(b []byte, p unsafe.Pointer) error {
	r := cursor{buf: b}
	kind := r.byte()
	sec := r.varint()
	nsec := r.uvarint()
	if nsec >= 1e9 || kind > zoneFixed {
		return errors.New("time out of range")
	}
	var loc *time.Location
	switch kind {
	case zoneUTC:
		loc = time.UTC
	case zoneLocal:
		loc = time.Local
	default:
		n := r.uvarint()
		if n > maxZoneName {
			return errors.New("zone name too long")
		}
		name := string(r.bytes(n))
		offset := r.varint()
		if r.bad || offset < -1<<31 || offset > 1<<31-1 {
			return errors.New("damaged zone")
		}
		if kind == zoneNamed {
			loc = c.zones.named(name)
		}
		if loc == nil {
			loc = c.zones.fixed(name, int(offset))
		}
	}
	if r.bad || r.off != len(b) {
		return errors.New("damaged time")
	}
	*(*time.Time)(p) = time.Unix(sec, int64(nsec)).In(loc)
	return nil
}

// zones remembers locations, because time.LoadLocation and time.FixedZone make
// a new one at each call and times with different pointers differ under ==.
type zones struct {
	mu      sync.Mutex
	byName  map[string]*time.Location // nil: no such zone on this system
	byZone  map[fixedZone]*time.Location
	known   map[*time.Location]bool // whether a location is the one of its name
	lacking int                     // of byName
}

type fixedZone struct {
	name   string
	offset int
}

// maxZones bounds each cache; beyond it nothing more is remembered but the zones
// of the system.
const maxZones = 4096

func newZones() *zones {
	return &zones{
		byName: map[string]*time.Location{},
		byZone: map[fixedZone]*time.Location{},
		known:  map[*time.Location]bool{},
	}
}

func (z *zones) named(name string) *time.Location {
	if z == nil {
		return loadZone(name)
	}
	z.mu.Lock()
	defer z.mu.Unlock()
	return z.lookup(name)
}

func (z *zones) lookup(name string) *time.Location {
	loc, ok := z.byName[name]
	if !ok {
		// Names that are none must not keep zones out: there are fewer zones than fit.
		if loc = loadZone(name); loc != nil || z.lacking < maxZones {
			z.byName[name] = loc
		}
		if loc == nil {
			z.lacking++
		}
	}
	return loc
}

// loadZone finds a zone of the IANA database. The names that LoadLocation
// gives a meaning of its own are none, and a zone has one name only.
func loadZone(name string) *time.Location {
	if name == "" || name == "UTC" || name == "Local" || path.Clean(name) != name {
		return nil
	}
	loc, err := time.LoadLocation(name)
	if err != nil {
		return nil
	}
	return loc
}

func (z *zones) fixed(name string, offset int) *time.Location {
	if z == nil {
		return time.FixedZone(name, offset)
	}
	z.mu.Lock()
	defer z.mu.Unlock()
	key := fixedZone{name, offset}
	loc, ok := z.byZone[key]
	if !ok {
		loc = time.FixedZone(name, offset)
		if len(z.byZone) < maxZones {
			z.byZone[key] = loc
		}
	}
	return loc
}

// isNamed reports whether loc is the zone that its name has in the IANA
// database, and not a fixed zone that borrows the name.
func (z *zones) isNamed(loc *time.Location) bool {
	if z == nil {
		return sameZone(loc, loadZone(loc.String()))
	}
	z.mu.Lock()
	defer z.mu.Unlock()
	is, ok := z.known[loc]
	if !ok {
		is = sameZone(loc, z.lookup(loc.String()))
		if len(z.known) < maxZones {
			z.known[loc] = is
		}
	}
	return is
}

// sameZone compares two locations at two instants of every month from 1900 to
// 2100, which tells every zone from a fixed one and from every other that has
// the same name.
func sameZone(a, b *time.Location) bool {
	if a == nil || b == nil {
		return a == b
	}
	if a == b {
		return true
	}
	for month := range 12 * 200 {
		for _, day := range []int{1, 15} {
			t := time.Date(1900, time.January+time.Month(month), day, 12, 0, 0, 0, time.UTC)
			an, ao := t.In(a).Zone()
			bn, bo := t.In(b).Zone()
			if an != bn || ao != bo {
				return false
			}
		}
	}
	return true
}
