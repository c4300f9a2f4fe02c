#include "textflag.h"

// func lines(first unsafe.Pointer, step uintptr, n int)
TEXT ·lines(SB), NOSPLIT, $0-24
	MOVD first+0(FP), R0
	MOVD step+8(FP), R3
	MOVD n+16(FP), R1

next:
	MOVD (R0), R2
	ADD  R3, R0
	PRFM (R2), PLDL1KEEP
	SUBS $1, R1, R1
	BNE  next
	RET

// func fields(objects unsafe.Pointer, off uintptr, n int)
TEXT ·fields(SB), NOSPLIT, $0-24
	MOVD objects+0(FP), R0
	MOVD off+8(FP), R3
	MOVD n+16(FP), R1

next:
	MOVD.P 8(R0), R2
	MOVD   (R2)(R3), R2
	PRFM   (R2), PLDL1KEEP
	SUBS   $1, R1, R1
	BNE    next
	RET

// func behind(objects unsafe.Pointer, off, then uintptr, n int)
TEXT ·behind(SB), NOSPLIT, $0-32
	MOVD objects+0(FP), R0
	MOVD off+8(FP), R3
	MOVD then+16(FP), R4
	MOVD n+24(FP), R1

next:
	MOVD.P 8(R0), R2
	MOVD   (R2)(R3), R2
	CBZ    R2, skip
	MOVD   (R2)(R4), R2
	PRFM   (R2), PLDL1KEEP
	ADD    $64, R2
	PRFM   (R2), PLDL1KEEP

skip:
	SUBS $1, R1, R1
	BNE  next
	RET
