package main

import (
	"bytes"
	"encoding/gob"
	"fmt"

	"github.com/fxamacker/cbor/v2"
	"github.com/goccy/go-json"
	"github.com/vmihailenco/msgpack/v5"
)

// Every rival runs as fast as its options let it, with any that still read back
// what was written: buffers are used again, structs are arrays without field
// names, map keys are not sorted, strings are not checked for UTF-8.

// rateSystems are poddb and its rivals, poddb first.
func rateSystems() []string { return []string{"poddb", "gob", "cbor", "msgpack", "json"} }

func newCodec(system string) (codec, error) {
	switch system {
	case "poddb":
		return newPodCodec(), nil
	case "gob":
		return &gobCodec{}, nil
	case "cbor":
		return newCborCodec()
	case "msgpack":
		return &msgpackCodec{}, nil
	case "json":
		return &jsonCodec{}, nil
	}
	return nil, fmt.Errorf("no encoder %q", system)
}

type gobCodec struct{ buffered }

func (c *gobCodec) encode(v any) error {
	c.buf.Reset()
	return gob.NewEncoder(&c.buf).Encode(v)
}

func (c *gobCodec) decode(into any) error {
	return gob.NewDecoder(bytes.NewReader(c.buf.Bytes())).Decode(into)
}

type cborCodec struct {
	buffered
	em cbor.UserBufferEncMode
	dm cbor.DecMode
}

func newCborCodec() (*cborCodec, error) {
	em, err := cbor.EncOptions{}.UserBufferEncMode()
	if err != nil {
		return nil, err
	}
	dm, err := cbor.DecOptions{
		UTF8:             cbor.UTF8DecodeInvalid,
		MaxNestedLevels:  65535,
		MaxArrayElements: 1<<31 - 1,
		MaxMapPairs:      1<<31 - 1,
	}.DecMode()
	return &cborCodec{em: em, dm: dm}, err
}

func (c *cborCodec) encode(v any) error {
	c.buf.Reset()
	return c.em.MarshalToBuffer(v, &c.buf)
}

func (c *cborCodec) decode(into any) error { return c.dm.Unmarshal(c.buf.Bytes(), into) }

type msgpackCodec struct{ buffered }

func (c *msgpackCodec) encode(v any) error {
	c.buf.Reset()
	enc := msgpack.NewEncoder(&c.buf)
	enc.UseArrayEncodedStructs(true)
	enc.UseCompactInts(true)
	return enc.Encode(v)
}

func (c *msgpackCodec) decode(into any) error {
	return msgpack.NewDecoder(bytes.NewReader(c.buf.Bytes())).Decode(into)
}

type jsonCodec struct{ buffered }

func (c *jsonCodec) encode(v any) error {
	c.buf.Reset()
	enc := json.NewEncoder(&c.buf)
	return enc.EncodeWithOption(v, json.UnorderedMap(), json.DisableHTMLEscape(), json.DisableNormalizeUTF8())
}

func (c *jsonCodec) decode(into any) error { return json.Unmarshal(c.buf.Bytes(), into) }
