"""What the deployment is made of, in containers and out of them."""

from .guard import Guard, integration

GUARDS = (
    Guard(
        name="etag-packed",
        protects="an edit of a job through nginx still matches the ETag that it was made up from",
        file="deploy/nginx/api.conf",
        text="if ($has_strong_etag) {",
        instead="if ($http_x_never) {",
        tests=integration(
            "test_nginx", "test_lists_are_packed_and_a_jobs_own_answers_keep_the_etag_that_edits_need"
        ),
    ),
    Guard(
        name="forwarded-said",
        protects="nobody says of themselves where they are from",
        file="deploy/nginx/proxy.conf",
        text="proxy_set_header X-Forwarded-For $remote_addr;",
        instead="proxy_set_header X-Forwarded-For $proxy_add_x_forwarded_for;",
        tests=integration("test_nginx", "test_what_a_client_says_of_where_it_is_from_is_overwritten"),
    ),
    Guard(
        name="secrets-kept",
        protects="a deployment that is started again has the passwords that it had",
        file="services/cli/secrets.py",
        text="if not (directory / name).exists():",
        instead="if True:",
        tests=integration("test_secrets_cli", "test_all_is_made_once_and_then_kept"),
    ),
    Guard(
        name="exporter-reads",
        protects="the exporter of Redis reads no event",
        file="services/cli/secrets.py",
        text='"-@all +ping',
        instead='"~* +@read +ping',
        tests=integration(
            "test_store_configs", "test_nobody_gets_in_without_a_password_and_the_exporter_only_looks"
        ),
    ),
    Guard(
        name="one-name-server",
        protects="nginx asks no name server that knows no replica",
        file="deploy/nginx/start.sh",
        text="; exit }",
        instead=" }",
        tests=integration(
            "test_nginx",
            "test_nginx_asks_the_first_name_server_alone_as_podman_lists_those_that_know_no_replica",
        ),
    ),
    Guard(
        name="probe-ready",
        protects="a container that can't work yet isn't called healthy",
        file="services/cli/probe.py",
        text='PATHS = ("/livez", "/readyz")',
        instead='PATHS = ("/livez",)',
        tests=integration(
            "test_probe", "test_a_service_that_waits_for_something_is_not_well_and_says_for_what"
        ),
    ),
)
