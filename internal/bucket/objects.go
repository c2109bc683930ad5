package bucket

import (
	"bytes"
	"context"
	"crypto/rand"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"path"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/minio/minio-go/v7"

	"ospulse/internal/models"
)

// objectTimeout bounds a request for a small object, with its retries. A reader holds a
// view of the database meanwhile.
const objectTimeout = 5 * time.Second

// slowestTransfer is the rate, in bytes per second, below which a request for a large
// object fails.
const slowestTransfer = 256 << 10

// marker is the name of the object that shows, in the folder of an installation, that the
// bucket is the one that this installation uses.
const marker = "ospulse"

// Objects stores small objects in a bucket. An object's name has the SHA-256 of its
// content, so Get notices a changed one. A name is never used again: it also has a random
// part. Objects implements database.Objects, which documents its contracts.
type Objects struct {
	bucket  *Bucket
	timeout time.Duration
	failed  atomic.Pointer[models.Error] // why the last request failed; nil if the service answered
	probe   sync.Mutex                   // held by the one Get that tries a service that has failed
}

// NewObjects returns the objects of a bucket.
func NewObjects(b *Bucket) *Objects { return &Objects{bucket: b, timeout: objectTimeout} }

// Name returns a new name for data.
func (o *Objects) Name(installationID string, data []byte) string {
	sum := sha256.Sum256(data)
	return path.Join(installationID, hex.EncodeToString(sum[:])+"-"+rand.Text())
}

// Put stores an object.
func (o *Objects) Put(ctx context.Context, name string, data []byte) error {
	return o.do(ctx, int64(len(data)), func(ctx context.Context) error {
		return o.bucket.Put(ctx, name, bytes.NewReader(data), int64(len(data)))
	})
}

// Get returns an object. After a failure of the service, one caller at a time tries it
// again; the others get the error at once. So a service that does not answer holds few
// readers.
func (o *Objects) Get(ctx context.Context, name string, sizeBytes int64) (data []byte, err error) {
	if failed := o.failed.Load(); failed != nil {
		if !o.probe.TryLock() {
			return nil, failed
		}
		defer o.probe.Unlock()
	}
	err = o.do(ctx, sizeBytes, func(ctx context.Context) (err error) {
		data, err = o.bucket.Read(ctx, name, sizeBytes+1)
		return err
	})
	if errors.Is(err, fs.ErrNotExist) {
		if err := o.isOurs(ctx, path.Dir(name)); err != nil { // then the object is elsewhere
			if errors.Is(err, errOtherBucket) {
				o.failed.Store(errOtherBucket)
			}
			return nil, err
		}
		return nil, fmt.Errorf("%w: the object is missing in the bucket", models.ErrDamaged)
	}
	if err != nil {
		return nil, err
	}
	sum := sha256.Sum256(data)
	if !strings.HasPrefix(path.Base(name), hex.EncodeToString(sum[:])+"-") {
		return nil, fmt.Errorf("%w: the object in the bucket was changed", models.ErrDamaged)
	}
	return data, nil
}

// Remove removes an object.
func (o *Objects) Remove(ctx context.Context, name string) error {
	return o.do(ctx, 0, func(ctx context.Context) error { return o.bucket.Remove(ctx, name) })
}

// Check checks the service and the bucket. It marks the bucket for an installation that
// has no objects yet, or has its known object there.
func (o *Objects) Check(ctx context.Context, installationID, known string) error {
	err := o.isOurs(ctx, installationID)
	if !errors.Is(err, errOtherBucket) {
		return err
	}
	if known != "" {
		missing := o.do(ctx, 0, func(ctx context.Context) error {
			_, err := o.bucket.Stat(ctx, known)
			return err
		})
		if errors.Is(missing, fs.ErrNotExist) {
			o.failed.Store(errOtherBucket)
			return errOtherBucket
		}
		if missing != nil {
			return missing
		}
	}
	return o.Put(ctx, path.Join(installationID, marker), []byte("The other objects of this folder are blocks of sealed events of OS-Pulse.\n"))
}

// isOurs returns errOtherBucket if the bucket is not marked.
func (o *Objects) isOurs(ctx context.Context, installationID string) error {
	err := o.do(ctx, 0, func(ctx context.Context) error {
		_, err := o.bucket.Read(ctx, path.Join(installationID, marker), 1<<10)
		return err
	})
	if errors.Is(err, fs.ErrNotExist) {
		return errOtherBucket
	}
	return err
}

// errOtherBucket means that the bucket has nothing of an installation.
var errOtherBucket = models.Errorf(models.CodeUnavailable, "the bucket of sealed events (BLOCKS_URL) has no objects of this database: it is another bucket or prefix than before, or it was emptied") //nolint:gochecknoglobals // a constant

// Failure returns why the last request failed; "" if the service answered.
func (o *Objects) Failure() string {
	if failed := o.failed.Load(); failed != nil {
		return failed.Message
	}
	return ""
}

// do runs a request within its time. It returns unavailable for every error but
// fs.ErrNotExist and the end of ctx.
func (o *Objects) do(ctx context.Context, sizeBytes int64, request func(context.Context) error) error {
	limited, cancel := context.WithTimeout(ctx, o.timeout+time.Duration(sizeBytes/slowestTransfer)*time.Second)
	defer cancel()
	err := request(limited)
	switch {
	case err == nil || errors.Is(err, fs.ErrNotExist):
		if err == nil || o.failed.Load() != errOtherBucket { // a missing object does not disprove that
			o.failed.Store(nil)
		}
		return err
	case ctx.Err() != nil: // the caller's time is over, which says nothing about the service
		return ctx.Err()
	}
	// The error does not wrap err, because a deadline in it would be taken for the database's.
	failed := models.Wrap(errors.New(err.Error()), models.CodeUnavailable, "the bucket of sealed events (BLOCKS_URL) %s", reason(err))
	o.failed.Store(failed)
	return failed
}

// reason says why a request failed, without names of hosts and keys.
func reason(err error) string {
	var dns *net.DNSError
	switch r := minio.ToErrorResponse(err); {
	case errors.Is(err, context.DeadlineExceeded):
		return "does not answer in time"
	case errors.Is(err, syscall.ECONNREFUSED):
		return "cannot be reached: connection refused"
	case errors.As(err, &dns):
		return "cannot be reached: its host is unknown"
	case r.StatusCode > 0 && r.Code != "":
		return "refuses: " + r.Code
	case r.StatusCode > 0:
		return fmt.Sprintf("refuses: status %d", r.StatusCode)
	}
	return "cannot be reached, or the connection broke"
}
