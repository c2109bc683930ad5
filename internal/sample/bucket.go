package sample

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
	"os"
	"path"
	"strings"
	"time"

	"github.com/minio/minio-go/v7"
	"github.com/minio/minio-go/v7/pkg/credentials"

	"ospulse/internal/models"
)

// Bucket is the location of a bucket of an S3 service.
type Bucket struct {
	Endpoint  string // a URL, http or https, without a path
	Region    string
	Name      string
	Prefix    string // of the keys, without slashes at its ends; may be empty
	AccessKey string
	SecretKey string
}

const (
	// bucketTries is the number of attempts of a request.
	bucketTries = 3
	// bucketTimeout bounds a request without a body, and how long the service may
	// send nothing while a file is read.
	bucketTimeout = 10 * time.Second
	// slowestUpload is the rate, in bytes per second, below which an upload fails.
	slowestUpload = 256 << 10
	// maxPutBytes is the limit of S3 for one request. A single request is atomic, and
	// leaves nothing behind if it is interrupted.
	maxPutBytes = 5 << 30
)

// bucket stores a file under the key prefix/ab/abcd…, like folder.
type bucket struct {
	client       *minio.Client
	name, prefix string
}

func newBucket(b Bucket) (*bucket, error) {
	endpoint, err := url.Parse(b.Endpoint)
	if err != nil {
		return nil, fmt.Errorf("the endpoint of the bucket: %w", err)
	}
	transport, err := minio.DefaultTransport(endpoint.Scheme == "https")
	if err != nil {
		return nil, err
	}
	transport.ResponseHeaderTimeout = bucketTimeout
	client, err := minio.New(endpoint.Host, &minio.Options{
		Creds:  credentials.NewStaticV4(b.AccessKey, b.SecretKey, ""),
		Secure: endpoint.Scheme == "https", Region: b.Region, Transport: withLength{transport}, MaxRetries: bucketTries,
	})
	if err != nil {
		return nil, fmt.Errorf("the endpoint of the bucket: %w", err)
	}
	return &bucket{client: client, name: b.Name, prefix: b.Prefix}, nil
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

func (b *bucket) key(sha256 string) string { return path.Join(b.prefix, sha256[:2], sha256) }

func (b *bucket) stat(ctx context.Context, sha256 string) (int64, error) {
	ctx, cancel := context.WithTimeout(ctx, bucketTimeout)
	defer cancel()
	info, err := b.client.StatObject(ctx, b.name, b.key(sha256), minio.StatObjectOptions{})
	return info.Size, bucketError(err)
}

func (b *bucket) put(ctx context.Context, sha256, path string, size int64) error {
	found, err := b.stat(ctx, sha256)
	if err == nil && found == size {
		return nil
	}
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	if size > maxPutBytes {
		return models.Errorf(models.CodeTooLarge, "the file is larger than the %d GB that a bucket takes at once", maxPutBytes>>30)
	}
	content, err := os.Open(path)
	if err != nil {
		return err
	}
	defer content.Close()
	ctx, cancel := context.WithTimeout(ctx, bucketTimeout+time.Duration(size/slowestUpload)*time.Second)
	defer cancel()
	_, err = b.client.PutObject(ctx, b.name, b.key(sha256), content, size, minio.PutObjectOptions{
		ContentType: "application/octet-stream", DisableMultipart: true,
		SendContentMd5: true, // the service refuses content damaged in transit
	})
	return bucketError(err)
}

func (b *bucket) open(ctx context.Context, sha256 string) (io.ReadSeekCloser, error) {
	ctx, cancel := context.WithCancel(ctx)
	stall := time.AfterFunc(bucketTimeout, cancel)
	content, err := b.client.GetObject(ctx, b.name, b.key(sha256), minio.GetObjectOptions{})
	if err == nil {
		_, err = content.Stat() // GetObject itself sends nothing
	}
	stall.Stop()
	if err != nil {
		cancel()
		return nil, bucketError(err)
	}
	return &object{content, stall, cancel}, nil
}

// object is a file in a bucket. A read that takes longer than bucketTimeout fails.
type object struct {
	*minio.Object
	stall  *time.Timer
	cancel context.CancelFunc
}

func (o *object) Read(p []byte) (int, error) {
	o.stall.Reset(bucketTimeout)
	defer o.stall.Stop()
	return o.Object.Read(p)
}

func (o *object) Close() error {
	defer o.cancel()
	return o.Object.Close()
}

func (b *bucket) remove(ctx context.Context, sha256 string) error {
	ctx, cancel := context.WithTimeout(ctx, bucketTimeout)
	defer cancel()
	err := bucketError(b.client.RemoveObject(ctx, b.name, b.key(sha256), minio.RemoveObjectOptions{}))
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	return err
}

func (b *bucket) readNote(ctx context.Context, name string) (string, error) {
	ctx, cancel := context.WithTimeout(ctx, bucketTimeout)
	defer cancel()
	content, err := b.client.GetObject(ctx, b.name, path.Join(b.prefix, name), minio.GetObjectOptions{})
	if err != nil {
		return "", bucketError(err)
	}
	text, err := io.ReadAll(io.LimitReader(content, 1<<10))
	return string(text), errors.Join(bucketError(err), content.Close())
}

func (b *bucket) writeNote(ctx context.Context, name, text string) error {
	ctx, cancel := context.WithTimeout(ctx, bucketTimeout)
	defer cancel()
	_, err := b.client.PutObject(ctx, b.name, path.Join(b.prefix, name), strings.NewReader(text), int64(len(text)),
		minio.PutObjectOptions{ContentType: "text/plain", DisableMultipart: true})
	return bucketError(err)
}

func (b *bucket) list(ctx context.Context) iter.Seq2[Object, error] {
	return func(yield func(Object, error) bool) {
		prefix := b.prefix
		if prefix != "" {
			prefix += "/"
		}
		for info := range b.client.ListObjectsIter(ctx, b.name, minio.ListObjectsOptions{Prefix: prefix, Recursive: true}) {
			if info.Err != nil {
				yield(Object{}, bucketError(info.Err))
				return
			}
			sha256 := path.Base(info.Key)
			if !validSHA256.MatchString(sha256) || info.Key != b.key(sha256) {
				continue
			}
			if !yield(Object{SHA256: sha256, PlacedAt: info.LastModified}, nil) {
				return
			}
		}
	}
}

// bucketError converts the error of a missing file to fs.ErrNotExist. A missing bucket
// is another error.
func bucketError(err error) error {
	if err == nil {
		return nil
	}
	if r := minio.ToErrorResponse(err); r.Code == minio.NoSuchKey || r.Code == "" && r.StatusCode == http.StatusNotFound {
		return fmt.Errorf("%w: %w", fs.ErrNotExist, err)
	}
	return err
}
