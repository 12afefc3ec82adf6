"""Python's ftplib as a client that people write by the thousand.

usage: ftplib_client.py [active] [resume] [tls] get|put|list HOST PORT REMOTE LOCAL

get and put copy one binary file; list prints the names in REMOTE. Otherwise as ftplib has it: passive, and in passive mode
over IPv4 the address of a 227 is not believed. `resume` goes on where the copy ends. `tls` is AUTH TLS with protected
data, and believes any certificate.
"""

import ftplib
import os
import sys

*options, operation, host, port, remote, local = sys.argv[1:]

ftp = ftplib.FTP_TLS() if "tls" in options else ftplib.FTP()
ftp.connect(host, int(port), timeout=20)
ftp.login()
if "tls" in options:
    ftp.prot_p()
ftp.set_pasv("active" not in options)
if operation == "list":
    ftp.cwd(remote)
    print("\n".join(ftp.nlst()))
elif operation == "get":
    done = os.path.getsize(local) if "resume" in options else None
    with open(local, "ab" if done else "wb") as file:
        ftp.retrbinary(f"RETR {remote}", file.write, rest=done)
else:
    with open(local, "rb") as file:
        done = None
        if "resume" in options:
            ftp.voidcmd("TYPE I")
            done = ftp.size(remote)
            file.seek(done)
        ftp.storbinary(f"STOR {remote}", file, rest=done)
ftp.quit()
