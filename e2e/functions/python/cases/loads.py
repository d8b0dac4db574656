import logging
logging.warning("at load")
print("loaded")
logging.basicConfig(level=logging.INFO)
log=logging.getLogger("x")
def handler(e,c):
    log.info("hello")
    return 1
