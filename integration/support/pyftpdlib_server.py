"""pyftpdlib as a real server: anonymous, with every right.

usage: pyftpdlib_server.py ROOT PORT ADDRESS...

Its defaults otherwise: it takes data connections from the control connection's address only.
"""

import os
import pwd
import sys

from pyftpdlib.authorizers import DummyAuthorizer
from pyftpdlib.handlers import FTPHandler
from pyftpdlib.ioloop import IOLoop
from pyftpdlib.servers import FTPServer

root, port, *addresses = sys.argv[1:]
account = pwd.getpwnam("nobody")
os.setgid(account.pw_gid)
os.setuid(account.pw_uid)
FTPHandler.authorizer = DummyAuthorizer()
FTPHandler.authorizer.add_anonymous(root, perm="elradfmwMT")
loop = IOLoop.instance()
servers = [FTPServer((address, int(port)), FTPHandler, ioloop=loop) for address in addresses]
servers[0].serve_forever()
