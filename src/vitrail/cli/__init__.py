"""One file per command: parse, call, print.

Imports everything below it; nothing imports it but __main__.
"""
