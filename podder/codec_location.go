package podder

import (
	"encoding/binary"
	"errors"
	"fmt"
	"time"
)

// A *time.Location is stored as the zone that it is:
//
//	byte 0 UTC, 1 Local, 2 named zone, 3 fixed zone, 4 nil
//	2 and 3: uv len + name; 3: zz offset in seconds
//
// One zone is one pointer after a load, the same that times of that zone have.
const zoneNil = zoneFixed + 1

func locationCodec(r *Registry) valueCodec {
	z := r.zones
	return checkedCodec{valueCodec: typedCodec[*time.Location]{"*time.Location", 1,
		func(dst []byte, v **time.Location) ([]byte, error) { return z.appendLocation(dst, *v) },
		func(b []byte, v **time.Location) (err error) {
			*v, err = z.getLocation(b)
			return err
		}, false}}
}

func (z *zones) appendLocation(dst []byte, loc *time.Location) ([]byte, error) {
	switch {
	case loc == nil:
		return append(dst, zoneNil), nil
	case loc == time.UTC:
		return append(dst, zoneUTC), nil
	case loc == time.Local:
		return append(dst, zoneLocal), nil
	}
	name := loc.String()
	if len(name) > maxZoneName {
		return dst, longZone(name)
	}
	if z.isNamed(loc) {
		return appendText(append(dst, zoneNamed), name), nil
	}
	_, offset := time.Unix(0, 0).In(loc).Zone()
	if !sameZone(loc, z.fixed(name, offset)) {
		return dst, fmt.Errorf("location %q is neither the zone of that name here nor a fixed one: use one from time.LoadLocation or time.FixedZone, or skip the field with the tag `pod:\"-\"`", name)
	}
	return binary.AppendVarint(appendText(append(dst, zoneFixed), name), int64(offset)), nil
}

func (z *zones) getLocation(b []byte) (*time.Location, error) {
	c := cursor{buf: b}
	kind := c.byte()
	var loc *time.Location
	switch kind {
	case zoneNil:
	case zoneUTC:
		loc = time.UTC
	case zoneLocal:
		loc = time.Local
	case zoneNamed, zoneFixed:
		n := c.uvarint()
		if n > maxZoneName {
			return nil, errors.New("zone name too long")
		}
		name := string(c.bytes(n))
		if kind == zoneNamed {
			if loc = z.named(name); loc == nil && !c.bad {
				return nil, fmt.Errorf("this system has no zone %q", name)
			}
			break
		}
		offset := c.varint()
		if offset < -1<<31 || offset > 1<<31-1 {
			return nil, errors.New("damaged zone")
		}
		loc = z.fixed(name, int(offset))
	default:
		return nil, errors.New("damaged zone")
	}
	if c.bad || c.off != len(b) {
		return nil, errors.New("damaged zone")
	}
	return loc, nil
}
