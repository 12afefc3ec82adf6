"""FTP over TLS with ftplib, in ways in which people use it and in ways in which it breaks.

usage: ftps_client.py HOST PORT CA WORD...

  tls1.2, tls1.3        the version to speak
  implicit              TLS before the greeting
  active                the server connects
  get REMOTE LOCAL      likewise put LOCAL REMOTE
  reuse REMOTE          three times: read it over a data connection that resumes the control connection's session, and
                        print whether it was resumed
  wait FILE             go on when FILE has gone; then connect anew with the session that there is, print whether it was
                        resumed
  cut REMOTE            an upload whose end is FIN without close_notify; prints the server's last word
  tear REMOTE           an upload that ends in the middle of a record; prints the same
"""

import ftplib
import os
import socket
import ssl
import sys
import time

host, port, authority, *words = sys.argv[1:]
SIZE = 300_000


class Client(ftplib.FTP_TLS):
    implicit = False
    resume = None

    def connect(self, host, port):
        if not self.implicit:
            return super().connect(host, port, timeout=20)
        self.host, self.port = host, port
        plain = socket.create_connection((host, port), timeout=20)
        self.af = plain.family
        self.sock = self.context.wrap_socket(plain, server_hostname=host)
        self.file = self.sock.makefile("r", encoding=self.encoding)
        self.welcome = self.getresp()

    def ntransfercmd(self, cmd, rest=None):
        connection, size = ftplib.FTP.ntransfercmd(self, cmd, rest)
        if self._prot_p:
            session = self.sock.session if self.resume else None
            connection = self.context.wrap_socket(connection, server_hostname=self.host, session=session)
            self.reused = connection.session_reused
        return connection, size


context = ssl.create_default_context(cafile=authority)
context.check_hostname = False
ftp = Client(context=context)
active = False
while words and words[0] in ("tls1.2", "tls1.3", "implicit", "active"):
    word = words.pop(0)
    if word == "implicit":
        ftp.implicit = True
    elif word == "active":
        active = True
    else:
        version = {"tls1.2": ssl.TLSVersion.TLSv1_2, "tls1.3": ssl.TLSVersion.TLSv1_3}[word]
        context.minimum_version = context.maximum_version = version
ftp.connect(host, int(port))
ftp.login()
ftp.prot_p()
ftp.set_pasv(not active)
operation, *arguments = words


def upload(remote):
    ftp.voidcmd("TYPE I")
    connection = ftp.transfercmd("STOR " + remote)
    connection.sendall(bytes(SIZE))
    return connection


def last_word():
    try:
        return ftp.voidresp()
    except (ftplib.Error, EOFError) as error:
        return str(error)


if operation == "get":
    with open(arguments[1], "wb") as file:
        ftp.retrbinary("RETR " + arguments[0], file.write)
elif operation == "put":
    with open(arguments[0], "rb") as file:
        ftp.storbinary("STOR " + arguments[1], file)
elif operation == "reuse":
    ftp.resume = True
    for _ in range(3):
        received = []
        ftp.retrbinary("RETR " + arguments[0], received.append)
        print("resumed" if ftp.reused else "full", sum(map(len, received)))
elif operation == "wait":
    session = ftp.sock.session
    print("waiting", flush=True)
    while os.path.exists(arguments[0]):
        time.sleep(0.02)
    plain = socket.create_connection((host, int(port)), timeout=20)
    plain.recv(1000)
    plain.sendall(b"AUTH TLS\r\n")
    plain.recv(1000)
    with context.wrap_socket(plain, server_hostname=host, session=session) as again:
        print("resumed" if again.session_reused else "full")
elif operation == "cut":
    connection = upload(arguments[0])
    os.close(connection.detach())
    print(last_word())
    sys.exit()
elif operation == "tear":
    connection = upload(arguments[0])
    plain = socket.socket(fileno=connection.detach())
    # A record of 1000 bytes, and the first of them.
    plain.sendall(b"\x17\x03\x03\x03\xe8" + bytes(10))
    plain.close()
    print(last_word())
    sys.exit()
ftp.quit()
