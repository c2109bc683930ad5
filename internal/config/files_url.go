package config

import (
	"cmp"
	"errors"
	"net/url"
	"slices"
	"strings"
)

// FilesURL is the location of target files. The zero value means the data folder.
type FilesURL struct {
	Bucket   string // its name
	Prefix   string // of its keys, without slashes at its ends; may be empty
	Endpoint string // the URL of the S3 service, without a path
	Region   string
}

// String returns the URL with all its options; "" for the data folder.
func (u FilesURL) String() string {
	if u.Bucket == "" {
		return ""
	}
	options := url.Values{"endpoint": {u.Endpoint}, "region": {u.Region}}
	return "s3://" + strings.TrimSuffix(u.Bucket+"/"+u.Prefix, "/") + "?" + options.Encode()
}

// complete fills in the region and endpoint that FILES_URL does not name. It
// returns an error if it needs endpoint, and that is not empty and no URL.
func (u *FilesURL) complete(region, endpoint string) (err error) {
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
	wants := errors.New("s3://bucket/prefix, with the options endpoint (http://127.0.0.1:9000) and region if needed, " +
		"or file:// for the data folder; the keys belong in AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY")
	u, err := url.Parse(value)
	if err != nil || u.Scheme != "s3" || u.User != nil || u.Fragment != "" || !consistsOf(u.Host, letters+digits+".-") || len(u.Host) < 3 || len(u.Host) > 63 {
		return FilesURL{}, wants
	}
	prefix := strings.Trim(u.Path, "/")
	if slices.ContainsFunc(strings.Split(prefix, "/"), func(part string) bool { return prefix != "" && part == "" || part == "." || part == ".." }) {
		return FilesURL{}, wants
	}
	options, err := url.ParseQuery(u.RawQuery)
	if err != nil {
		return FilesURL{}, wants
	}
	for name := range options {
		if name != "endpoint" && name != "region" {
			return FilesURL{}, wants
		}
	}
	result := FilesURL{Bucket: u.Host, Prefix: prefix, Region: options.Get("region")}
	if endpoint := options.Get("endpoint"); endpoint != "" {
		if result.Endpoint, err = endpointURL(endpoint); err != nil {
			return FilesURL{}, wants
		}
	}
	return result, nil
}

// endpointURL takes the URL of an S3 service.
func endpointURL(value string) (string, error) {
	u, ok := webURL(value)
	if !ok || strings.Trim(u.Path, "/") != "" {
		return "", errors.New("a URL such as http://127.0.0.1:9000: http or https, a host, perhaps a port, and nothing after it")
	}
	return u.Scheme + "://" + u.Host, nil
}
