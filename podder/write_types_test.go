package podder

import "sync"

type lockAlias = sync.Mutex
