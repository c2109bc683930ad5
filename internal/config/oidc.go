package config

import (
	"errors"
	"slices"
	"strings"

	"ospulse/internal/models"
)

// Issuer is the URL of an OpenID Connect provider, exactly as its tokens have it.
type Issuer string

// issuer returns a URL as in Issuer. Whoever can change the answers of the provider on their
// way becomes an admin, so http is for this machine only.
func issuer(value string) (string, error) {
	u, ok := webURL(value)
	if !ok || u.Scheme == "http" && !Host(u.Hostname()).loopback() {
		return "", errors.New("a URL such as https://login.example.com/realms/lab, exactly as in the provider's tokens: https, or http on this machine, a host, nothing after ? or #")
	}
	return value, nil
}

// Roles are roles by value of the role claim. "*" stands for everyone.
type Roles map[string]models.Role

const wantsRoles = "values of the role claim with roles, such as ospulse-admins=admin,analysts=analyst,*=viewer: the roles are viewer, analyst and admin"

// roles returns a map as in Roles. Agents have keys of their own, so people cannot have
// their role.
func roles(value string) (map[string]models.Role, error) {
	byValue := map[string]models.Role{}
	for item := range strings.SplitSeq(value, ",") {
		at := strings.LastIndex(item, "=")
		if at < 0 {
			return nil, errors.New(wantsRoles)
		}
		name, role := strings.TrimSpace(item[:at]), models.Role(strings.TrimSpace(item[at+1:]))
		if name == "" || byValue[name] != "" || role == models.RoleAgent || !slices.Contains(models.Roles, role) {
			return nil, errors.New(wantsRoles)
		}
		byValue[name] = role
	}
	return byValue, nil
}
