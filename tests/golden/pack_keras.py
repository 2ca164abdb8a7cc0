#!/usr/bin/env python3
"""Compresses the .keras files that a generator wrote, to a tenth of their size.

    python pack_keras.py keras_compiled/*.keras

Keras stores them uncompressed, and reads them either way. keras_files/ keeps the form of Keras.
"""
import os
import sys
import zipfile

for path in sys.argv[1:]:
    with zipfile.ZipFile(path) as file:
        members = [(member.filename, file.read(member)) for member in file.infolist()]
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED, compresslevel=9) as file:
        for name, contents in members:
            file.writestr(zipfile.ZipInfo(name), contents, zipfile.ZIP_DEFLATED)
    print("%s: %d bytes" % (path, os.path.getsize(path)))
