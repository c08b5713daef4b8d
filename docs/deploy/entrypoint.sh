#!/bin/sh
# Bring the instance up to date, then become the server that the arguments name.
set -e
fietsupdate check || fietsupdate update --yes
exec "$@"
