from typing import Any

import pytest

from relay.settings import SettingsError
from smtp_gateway.certificates import tls_context
from tests.gateway import certificate

CERTIFICATES = {
    "no certificate": ("missing", "key", "GATEWAY_CERT_FILE="),
    "no key": ("cert", "missing", "GATEWAY_KEY_FILE="),
    "not a certificate": ("rubbish", "key", "GATEWAY_CERT_FILE="),
    "not a key": ("cert", "rubbish", "GATEWAY_KEY_FILE="),
    "another's key": ("cert", "other", "GATEWAY_KEY_FILE="),
    "a folder": ("cert", "folder", "GATEWAY_KEY_FILE="),
}


@pytest.mark.parametrize(("cert", "key", "start"), CERTIFICATES.values(), ids=CERTIFICATES)
def test_a_bad_certificate_is_named(tmp_path: Any, cert: str, key: str, start: str) -> None:
    (tmp_path / "rubbish").write_text("rubbish\n")
    cert_file, key_file = certificate()
    certificate.cache_clear()
    other = certificate()[1]
    files = {"cert": cert_file, "key": key_file, "other": other, "rubbish": tmp_path / "rubbish"}
    files |= {"missing": tmp_path / "missing", "folder": tmp_path}
    with pytest.raises(SettingsError) as caught:
        tls_context(str(files[cert]), str(files[key]))
    assert str(caught.value).startswith(start)
    assert "\n" not in str(caught.value)
