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
