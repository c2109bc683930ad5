package config

import (
	"cmp"
	"errors"
	"net/url"
	"slices"
	"strings"
)

// FilesURL is the location of target files. The zero value means the data folder.
type FilesURL struct{ BucketURL }

// BlocksURL is the location of the blocks of sealed events. The zero value means the
// database.
type BlocksURL struct{ BucketURL }

// BucketURL is the location of a bucket.
type BucketURL struct {
	Bucket   string // its name
	Prefix   string // of its keys, without slashes at its ends; may be empty
	Endpoint string // the URL of the S3 service, without a path
	Region   string
}

// String returns the URL with all its options; "" without a bucket.
func (u BucketURL) String() string {
	if u.Bucket == "" {
		return ""
	}
	options := url.Values{"endpoint": {u.Endpoint}, "region": {u.Region}}
	return "s3://" + strings.TrimSuffix(u.Bucket+"/"+u.Prefix, "/") + "?" + options.Encode()
}

// complete fills in the region and endpoint that the URL does not name. It returns an
// error if it needs endpoint, and that is not empty and no URL.
func (u *BucketURL) complete(region, endpoint string) (err error) {
	u.Region = cmp.Or(u.Region, region)
	if u.Endpoint == "" && endpoint != "" {
		u.Endpoint, err = endpointURL(endpoint)
	}
	u.Endpoint = cmp.Or(u.Endpoint, "https://s3."+u.Region+".amazonaws.com")
	return err
}

// filesURL takes s3://bucket/prefix?endpoint=URL&region=NAME, and file:// for the
// data folder.
func filesURL(value string) (FilesURL, error) {
	if value == "file://" {
		return FilesURL{}, nil
	}
	u, ok := bucketURL(value)
	if !ok {
		return FilesURL{}, errors.New(wantsBucket + ", or file:// for the data folder" + wantsKeys)
	}
	return FilesURL{u}, nil
}

// blocksURL takes s3://bucket/prefix?endpoint=URL&region=NAME.
func blocksURL(value string) (BlocksURL, error) {
	u, ok := bucketURL(value)
	if !ok {
		return BlocksURL{}, errors.New(wantsBucket + wantsKeys)
	}
	return BlocksURL{u}, nil
}

const (
	wantsBucket = "s3://bucket/prefix, with the options endpoint (http://127.0.0.1:9000) and region if needed"
	wantsKeys   = "; the keys belong in AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY"
)

func bucketURL(value string) (result BucketURL, ok bool) {
	u, err := url.Parse(value)
	if err != nil || u.Scheme != "s3" || u.User != nil || u.Fragment != "" || !consistsOf(u.Host, letters+digits+".-") || len(u.Host) < 3 || len(u.Host) > 63 {
		return result, false
	}
	prefix := strings.Trim(u.Path, "/")
	if slices.ContainsFunc(strings.Split(prefix, "/"), func(part string) bool { return prefix != "" && part == "" || part == "." || part == ".." }) {
		return result, false
	}
	options, err := url.ParseQuery(u.RawQuery)
	if err != nil {
		return result, false
	}
	for name := range options {
		if name != "endpoint" && name != "region" {
			return result, false
		}
	}
	result = BucketURL{Bucket: u.Host, Prefix: prefix, Region: options.Get("region")}
	if endpoint := options.Get("endpoint"); endpoint != "" {
		result.Endpoint, err = endpointURL(endpoint)
	}
	return result, err == nil
}

// holds reports whether the objects of other are below the prefix of u.
func (u BucketURL) holds(other BucketURL) bool {
	return u.Bucket == other.Bucket && u.Endpoint == other.Endpoint && (u.Prefix == "" || u.Prefix == other.Prefix || strings.HasPrefix(other.Prefix, u.Prefix+"/"))
}

// endpointURL takes the URL of an S3 service.
func endpointURL(value string) (string, error) {
	u, ok := webURL(value)
	if !ok || strings.Trim(u.Path, "/") != "" {
		return "", errors.New("a URL such as http://127.0.0.1:9000: http or https, a host, perhaps a port, and nothing after it")
	}
	return u.Scheme + "://" + u.Host, nil
}
