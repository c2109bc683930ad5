// Package bucket reads and writes objects in a bucket of an S3 service. It must not know
// what the objects are for.
package bucket

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"iter"
	"net/http"
	"net/url"
	"path"
	"strings"
	"time"

	"github.com/minio/minio-go/v7"
	"github.com/minio/minio-go/v7/pkg/credentials"
)

// Location is the location of a bucket of an S3 service.
type Location struct {
	Endpoint  string // a URL, http or https, without a path
	Region    string
	Name      string
	Prefix    string // of the keys, without slashes at its ends; may be empty
	AccessKey string
	SecretKey string
}

// String returns s3://name/prefix.
func (l Location) String() string { return strings.TrimSuffix("s3://"+l.Name+"/"+l.Prefix, "/") }

const (
	// tries is the number of attempts of a request.
	tries = 3
	// timeout bounds a request without a body, and how long the service may send nothing
	// while an object is read.
	timeout = 10 * time.Second
	// slowestUpload is the rate, in bytes per second, below which an upload fails.
	slowestUpload = 256 << 10
)

// MaxBytes is the limit of S3 for an object that one request stores. A single request is
// atomic, and leaves nothing behind if it is interrupted.
const MaxBytes = 5 << 30

// Bucket is a bucket, or the part of it below a prefix. Keys are relative to the prefix.
// Errors that wrap fs.ErrNotExist mean that there is no such object; a missing bucket is
// another error. It is safe for concurrent use.
type Bucket struct {
	client       *minio.Client
	name, prefix string
}

// Open returns the bucket at a location. It does not contact the service.
func Open(l Location) (*Bucket, error) {
	endpoint, err := url.Parse(l.Endpoint)
	if err != nil {
		return nil, fmt.Errorf("the endpoint of the bucket: %w", err)
	}
	transport, err := minio.DefaultTransport(endpoint.Scheme == "https")
	if err != nil {
		return nil, err
	}
	transport.ResponseHeaderTimeout = timeout
	client, err := minio.New(endpoint.Host, &minio.Options{
		Creds:  credentials.NewStaticV4(l.AccessKey, l.SecretKey, ""),
		Secure: endpoint.Scheme == "https", Region: l.Region, Transport: withLength{transport}, MaxRetries: tries,
	})
	if err != nil {
		return nil, fmt.Errorf("the endpoint of the bucket: %w", err)
	}
	return &Bucket{client: client, name: l.Name, prefix: l.Prefix}, nil
}

// withLength adds the length that the client omits when it signs an empty file. S3
// requires it.
type withLength struct{ http.RoundTripper }

func (t withLength) RoundTrip(r *http.Request) (*http.Response, error) {
	if r.ContentLength == 0 && r.Body != nil && r.Body != http.NoBody {
		signature, err := io.ReadAll(r.Body) // a signature without content
		if err := errors.Join(err, r.Body.Close()); err != nil {
			return nil, err
		}
		r = r.Clone(r.Context())
		r.Body, r.ContentLength = io.NopCloser(bytes.NewReader(signature)), int64(len(signature))
	}
	return t.RoundTripper.RoundTrip(r)
}

func (b *Bucket) path(key string) string { return path.Join(b.prefix, key) }

// Stat returns the size of an object.
func (b *Bucket) Stat(ctx context.Context, key string) (sizeBytes int64, err error) {
	ctx, cancel := context.WithTimeout(ctx, timeout)
	defer cancel()
	info, err := b.client.StatObject(ctx, b.name, b.path(key), minio.StatObjectOptions{})
	return info.Size, wrap(err)
}

// Put stores an object of up to MaxBytes, all of it or nothing. When it returns nil, the
// object is durable.
func (b *Bucket) Put(ctx context.Context, key string, content io.Reader, sizeBytes int64) error {
	ctx, cancel := context.WithTimeout(ctx, timeout+time.Duration(sizeBytes/slowestUpload)*time.Second)
	defer cancel()
	_, err := b.client.PutObject(ctx, b.name, b.path(key), content, sizeBytes, minio.PutObjectOptions{
		ContentType: "application/octet-stream", DisableMultipart: true,
		SendContentMd5: true, // the service refuses content damaged in transit
	})
	return wrap(err)
}

// Get opens an object. A read of it that takes longer than ten seconds fails.
func (b *Bucket) Get(ctx context.Context, key string) (io.ReadSeekCloser, error) {
	ctx, cancel := context.WithCancel(ctx)
	stall := time.AfterFunc(timeout, cancel)
	content, err := b.client.GetObject(ctx, b.name, b.path(key), minio.GetObjectOptions{})
	if err == nil {
		_, err = content.Stat() // GetObject itself sends nothing
	}
	stall.Stop()
	if err != nil {
		cancel()
		return nil, wrap(err)
	}
	return &object{content, stall, cancel}, nil
}

// object is an opened object.
type object struct {
	*minio.Object
	stall  *time.Timer
	cancel context.CancelFunc
}

func (o *object) Read(p []byte) (int, error) {
	o.stall.Reset(timeout)
	defer o.stall.Stop()
	return o.Object.Read(p)
}

func (o *object) Close() error {
	defer o.cancel()
	return o.Object.Close()
}

// Read returns the content of an object, but no more than maxBytes of it.
func (b *Bucket) Read(ctx context.Context, key string, maxBytes int64) ([]byte, error) {
	ctx, cancel := context.WithTimeout(ctx, timeout)
	defer cancel()
	content, err := b.client.GetObject(ctx, b.name, b.path(key), minio.GetObjectOptions{})
	if err != nil {
		return nil, wrap(err)
	}
	data, err := io.ReadAll(io.LimitReader(content, maxBytes))
	return data, errors.Join(wrap(err), content.Close())
}

// Remove removes an object. Removing an object that is not there is no error.
func (b *Bucket) Remove(ctx context.Context, key string) error {
	ctx, cancel := context.WithTimeout(ctx, timeout)
	defer cancel()
	err := wrap(b.client.RemoveObject(ctx, b.name, b.path(key), minio.RemoveObjectOptions{}))
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	return err
}

// Entry is an object, as List yields it.
type Entry struct {
	Key      string
	StoredAt time.Time
}

// List yields all objects in the order of their keys. It ends with the first error.
func (b *Bucket) List(ctx context.Context) iter.Seq2[Entry, error] {
	return func(yield func(Entry, error) bool) {
		prefix := b.prefix
		if prefix != "" {
			prefix += "/"
		}
		for info := range b.client.ListObjectsIter(ctx, b.name, minio.ListObjectsOptions{Prefix: prefix, Recursive: true}) {
			if !yield(Entry{strings.TrimPrefix(info.Key, prefix), info.LastModified}, wrap(info.Err)) || info.Err != nil {
				return
			}
		}
	}
}

// wrap converts the error of a missing object to fs.ErrNotExist. A missing bucket is
// another error.
func wrap(err error) error {
	if err == nil {
		return nil
	}
	if r := minio.ToErrorResponse(err); r.Code == minio.NoSuchKey || r.Code == "" && r.StatusCode == http.StatusNotFound {
		return fmt.Errorf("%w: %w", fs.ErrNotExist, err)
	}
	return err
}
