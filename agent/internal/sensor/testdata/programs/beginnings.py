# Sends HTTP requests to itself in unusual ways, and data that is not HTTP.
import socket, threading

server = socket.socket()
server.bind(("127.0.0.1", 0))
server.listen(5)


def talk(client_parts, answer, wait_for):
    """Sends each part by itself; the server answers when it has wait_for bytes."""
    client = socket.create_connection(server.getsockname())
    client.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    peer, _ = server.accept()

    def serve():
        got = b""
        while len(got) < wait_for:
            got += peer.recv(1 if wait_for < 200 else 65536)
        for part in answer:
            peer.sendall(part)
        while peer.recv(65536):
            pass
        peer.close()

    thread = threading.Thread(target=serve)
    thread.start()
    for part in client_parts:
        client.sendall(part)
    want = sum(map(len, answer))
    while want > 0:
        want -= len(client.recv(65536))
    client.close()
    thread.join()


def whole(*parts, answer=(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok",)):
    talk(parts, answer, sum(map(len, parts)))


def each(data):
    return [data[i : i + 1] for i in range(len(data))]


whole(b"GET /whole HTTP/1.1\r\nHost: a\r\n\r\n")
whole(b"G", b"ET /split HTTP/1.1\r\nHost: a\r\n\r\n")
whole(b"\r\nGET /crlf HTTP/1.1\r\nHost: a\r\n\r\n")
whole(b"\r", b"\n", b"\r\n", b"GET /empty-lines HTTP/1.1\r\nHost: a\r\n\r\n")
whole(b"PROPFIND /dav HTTP/1.1\r\nHost: a\r\nContent-Length: 4\r\n\r\n<x/>")
whole(b"X /beacon HTTP/1.1\r\nHost: a\r\n\r\n")
whole(b"get /lower HTTP/1.0\r\n\r\n")
whole(b"M-SEARCH * HTTP/1.1\r\nHost: a\r\n\r\n")
whole(b"GET http://far.test/absolute HTTP/1.1\r\nHost: far.test\r\n\r\n")
whole(*each(b"PURGE /each HTTP/1.1\r\nHost: a\r\n\r\n"), answer=each(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"))
whole(b"P", b"OST /large HTTP/1.1\r\nContent-Length: 60000\r\n\r\n" + b"x" * 60000)
whole(b"GET /" + b"l" * 3000, b"ong HTTP/1.1\r\n\r\n")
whole(b"GET /1 HTTP/1.1\r\n\r\nLOCK /2 HTTP/1.1\r\n\r\n", answer=(b"HTTP/1.1 204 N\r\n\r\nHTTP/1.1 205 N\r\nContent-Length: 0\r\n\r\n",))
talk([b"POST /early HTTP/1.1\r\nConte"], [b"HTTP/1.1 431 Too Large\r\nContent-Length: 0\r\n\r\n"], 27)
whole(b"GET /old\r\n", answer=(b"HTTP/1.1 400 Bad\r\nContent-Length: 0\r\n\r\n",))

# not HTTP
whole(b"EHLO GET HTTP there\r\n", answer=(b"220 mail ESMTP\r\n", b"250 GET / HTTP/1.1\r\n"))
whole(b"\x16\x03\x01GET / HTTP/1.1\r\n\r\n", answer=(b"\x16\x03\x03HTTP/1.1 200 OK\r\n\r\n",))
whole(b"PRI * HTTP/3.0\r\n\r\nSM\r\n\r\n", answer=(b"\0\0\0\4\0\0\0\0\0",))
whole(b"OPTIONS rtsp://a RTSP/1.0\r\n\r\n", answer=(b"RTSP/1.0 200 OK\r\n\r\n",))
