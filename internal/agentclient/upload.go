package agentclient

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"mime/multipart"
	"net/http"
	"sync"
)

// Upload sends the agent a file of sizeBytes bytes and returns the agent's name for it,
// which Start needs. It streams the file with a Content-Length, because some Python
// servers read a chunked body as empty.
//
// It calls open once per try, after closing the previous reader; every reader is closed
// when Upload returns. An error of open or of a reader, or a reader with another size,
// is not the agent's fault: it is returned wrapped, without an agent code.
func (c *Client) Upload(ctx context.Context, name string, sizeBytes int64, open func() (io.ReadCloser, error)) (string, error) {
	var envelope bytes.Buffer
	form := multipart.NewWriter(&envelope)
	_, _ = form.CreateFormFile("file", name) // writes to a buffer cannot fail
	headBytes := envelope.Len()
	_ = form.Close()
	head, tail := envelope.Bytes()[:headBytes], envelope.Bytes()[headBytes:]

	var unread error // error of reading the file
	var inUse sync.WaitGroup
	answer, err := c.call(ctx, &c.upload, source{
		header: http.Header{
			"Content-Type": {form.FormDataContentType()},
			// The agent can refuse the file before it is sent. Otherwise the answer
			// could be lost when the agent closes the connection.
			"Expect": {"100-continue"},
		},
		sizeBytes: int64(envelope.Len()) + sizeBytes,
		open: func(progress func()) (io.ReadCloser, error) {
			inUse.Wait() // an agent may answer while it still receives the file
			file, err := open()
			if err != nil {
				unread = err
				return nil, err
			}
			inUse.Add(1)
			content := &sizedFile{file, sizeBytes, &unread}
			return &watchedBody{
				Reader:   io.MultiReader(bytes.NewReader(head), content, bytes.NewReader(tail)),
				progress: progress,
				close:    sync.OnceValue(func() error { defer inUse.Done(); return file.Close() }),
			}, nil
		},
	})
	inUse.Wait()
	if unread != nil {
		return "", fmt.Errorf("reading the file for the agent: %w", unread)
	}
	if err != nil {
		return "", err
	}
	agentName, err := decodeUpload(answer, name)
	if err != nil {
		return "", c.failed(err, "gave the file a name that cannot be used")
	}
	return agentName, nil
}

// watchedBody reports each read of the transport.
type watchedBody struct {
	io.Reader
	progress func()
	close    func() error
}

func (b *watchedBody) Read(p []byte) (int, error) {
	n, err := b.Reader.Read(p)
	b.progress()
	return n, err
}

func (b *watchedBody) Close() error { return b.close() }

var errSizeChanged = errors.New("the file has not the size that was told")

// sizedFile reads exactly leftBytes more bytes. It separates its errors from those of
// the connection.
type sizedFile struct {
	file      io.Reader
	leftBytes int64
	failure   *error
}

func (f *sizedFile) Read(p []byte) (int, error) {
	n, err := f.file.Read(p)
	f.leftBytes -= int64(n)
	if f.leftBytes < 0 || f.leftBytes > 0 && err == io.EOF {
		err = errSizeChanged
	}
	if err != nil && err != io.EOF {
		*f.failure = err
	}
	return n, err
}
