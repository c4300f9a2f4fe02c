#include "textflag.h"

// func lines(first unsafe.Pointer, step uintptr, n int)
TEXT ·lines(SB), NOSPLIT, $0-24
	MOVQ first+0(FP), SI
	MOVQ step+8(FP), DX
	MOVQ n+16(FP), CX

next:
	MOVQ       (SI), AX
	PREFETCHT0 (AX)
	ADDQ       DX, SI
	DECQ       CX
	JNZ        next
	RET
