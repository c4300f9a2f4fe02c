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

// func fields(objects unsafe.Pointer, off uintptr, n int)
TEXT ·fields(SB), NOSPLIT, $0-24
	MOVQ objects+0(FP), SI
	MOVQ off+8(FP), DX
	MOVQ n+16(FP), CX

next:
	MOVQ       (SI), AX
	MOVQ       (AX)(DX*1), AX
	PREFETCHT0 (AX)
	ADDQ       $8, SI
	DECQ       CX
	JNZ        next
	RET

// func behind(objects unsafe.Pointer, off, then uintptr, n int)
TEXT ·behind(SB), NOSPLIT, $0-32
	MOVQ objects+0(FP), SI
	MOVQ off+8(FP), DX
	MOVQ then+16(FP), DI
	MOVQ n+24(FP), CX

next:
	MOVQ  (SI), AX
	MOVQ  (AX)(DX*1), AX
	TESTQ AX, AX
	JZ    skip
	MOVQ  (AX)(DI*1), AX
	PREFETCHT0 (AX)
	PREFETCHT0 64(AX)

skip:
	ADDQ $8, SI
	DECQ CX
	JNZ  next
	RET
