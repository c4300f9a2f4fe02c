package podder

import (
	"bytes"
	"errors"
	"net/netip"
)

// Addresses are stored in their binary form: 0, 4 or 16 bytes and the zone, then
// u16 port (little-endian) or byte length of the prefix.

func netAddr(*Registry) valueCodec {
	return typedCodec[netip.Addr]{"netip.Addr", 1,
		func(dst []byte, v *netip.Addr) ([]byte, error) { return v.AppendBinary(dst) },
		func(b []byte, v *netip.Addr) error { return v.UnmarshalBinary(b) }, false}
}

func netAddrPort(*Registry) valueCodec {
	return typedCodec[netip.AddrPort]{"netip.AddrPort", 1,
		func(dst []byte, v *netip.AddrPort) ([]byte, error) { return v.AppendBinary(dst) },
		func(b []byte, v *netip.AddrPort) error { return v.UnmarshalBinary(b) }, false}
}

func netPrefix(*Registry) valueCodec {
	return typedCodec[netip.Prefix]{"netip.Prefix", 1,
		func(dst []byte, v *netip.Prefix) ([]byte, error) { return v.AppendBinary(dst) },
		func(b []byte, v *netip.Prefix) error {
			if err := v.UnmarshalBinary(b); err != nil {
				return err
			}
			if again, err := v.MarshalBinary(); err != nil || !bytes.Equal(again, b) {
				return errors.New("damaged prefix")
			}
			return nil
		}, false}
}
