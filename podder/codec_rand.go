package podder

import randv2 "math/rand/v2"

// Generators are stored in their binary form, and go on where they were.

func randPCG(*Registry) valueCodec {
	return typedCodec[randv2.PCG]{"rand.PCG", 1,
		func(dst []byte, v *randv2.PCG) ([]byte, error) { return v.AppendBinary(dst) },
		func(b []byte, v *randv2.PCG) error { return v.UnmarshalBinary(b) }, false}
}

func randChaCha8(*Registry) valueCodec {
	return typedCodec[randv2.ChaCha8]{"rand.ChaCha8", 1,
		func(dst []byte, v *randv2.ChaCha8) ([]byte, error) { return v.AppendBinary(dst) },
		func(b []byte, v *randv2.ChaCha8) error { return v.UnmarshalBinary(b) }, false}
}
