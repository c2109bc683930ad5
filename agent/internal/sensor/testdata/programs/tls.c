/*
 * A sample for the sensor's tests: an OpenSSL client. Its arguments are the port, "wait" to
 * wait first for the end of the standard input, and a file to delete before that.
 */
#include <arpa/inet.h>
#include <openssl/ssl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

int main(int argc, char **argv)
{
	struct sockaddr_in to = {.sin_family = AF_INET, .sin_port = htons(atoi(argv[1])), .sin_addr = {htonl(INADDR_LOOPBACK)}};
	int fd = socket(AF_INET, SOCK_STREAM, 0);
	SSL *ssl = SSL_new(SSL_CTX_new(TLS_client_method()));
	const char *request = "GET /missing HTTP/1.1\r\nHost: static.test\r\nConnection: close\r\n\r\n";
	char answer[4096];
	size_t n;

	if (argc > 3)
		unlink(argv[3]);
	if (argc > 2)
		while (read(0, answer, sizeof answer) > 0)
			;
	if (argc < 2 || connect(fd, (void *)&to, sizeof to) || !SSL_set_fd(ssl, fd) || SSL_connect(ssl) != 1)
		return 1;
	if (SSL_write_ex(ssl, request, strlen(request), &n) != 1)
		return 2;
	while (SSL_read_ex(ssl, answer, sizeof answer, &n) == 1)
		;
	SSL_free(ssl);
	return 0;
}
