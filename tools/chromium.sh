#!/usr/bin/env bash
# Look for a Chromium for the tests of the site; on Debian, as root, install one. Never fails.
look() { command -v chromium || command -v chromium-browser || command -v google-chrome || command -v chrome; }
if ! look >/dev/null && [ "$(id -u)" = 0 ] && command -v apt-get >/dev/null; then
  echo "Installing Debian's chromium for the tests of the site ..."
  { apt-get -qq update && DEBIAN_FRONTEND=noninteractive apt-get -qq install -y --no-install-recommends chromium; } \
    >/dev/null 2>&1 || echo "That did not work."
fi
look || echo "No Chromium or Chrome here: the browser tests will be skipped. Install one of them to run them."
