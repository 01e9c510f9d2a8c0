{#- nginx serves the mirror: pages and wheels, nothing hidden. Settings stand in the pillar key pipmirror_server. -#}
{%- from tpldir ~ "/server.jinja" import problems, server with context %}
{%- set site = {"Alpine": "/etc/nginx/http.d"}.get(grains["os_family"], "/etc/nginx/conf.d") ~ "/pipmirror.conf" %}
{%- set htpasswd_path = "/etc/nginx/pipmirror.htpasswd" %}
{#- Without the hashes: what is passed on shows in `state.show_sls`. #}
{%- set shown = dict(server, htpasswd="") %}
{%- set tls_port = (server.tls.listen | first | default("443") | string).rpartition(":")[2] %}
{#- Only there it stands outside of `http`, where this belongs. Alpine's nginx.conf has it. nginx takes it once, and
    with two of them starts no more: who has it in a file beside ours has said it as well. #}
{%- set compiling = "/etc/nginx/modules-enabled/90-pipmirror.conf" if grains["os_family"] == "Debian" else "" %}
{%- set said = [] %}
{%- set others = salt["file.find"]("/etc/nginx/modules-enabled", name="*.conf", maxdepth=1) if compiling else [] %}
{%- for path in ["/etc/nginx/nginx.conf"] + others if path != compiling %}
{%-   if salt["file.search"](path, "^\\s*pcre_jit\\s", ignore_if_missing=True) %}
{%-     do said.append(path) %}
{%-   endif %}
{%- endfor %}
{%- set files = ["site", "passwords"] + (["compiled"] if compiling else []) %}
{%- set managed_service = grains.get("init") in ["systemd", "sysvinit", "upstart", "openrc"] %}
{%- if problems %}

pipmirror-server:
{%-   if grains["saltversioninfo"][0] >= 3007 %}
  test.configurable_test_state:
    - name: nginx
    - result: False
    - changes: False
    - allow_test_mode_failure: True
{%-   else %}
  test.fail_without_changes:
    {#- Under test=True this function drops the comment. #}
    - name: {{ (problems | join("\n") if opts.get("test") else "nginx") | tojson }}
{%-   endif %}
    - comment: {{ problems | join("\n") | tojson }}

{%- else %}

pipmirror-server-package:
  pkg.installed:
    - name: nginx
    - install_recommends: False

pipmirror-server-passwords:
{%-   if server.htpasswd %}
  file.managed:
    - name: {{ htpasswd_path }}
    {#- The name of the pillar key, not what stands there: hashes have no business in the output of a highstate. #}
    - contents_pillar: pipmirror_server:htpasswd
    - user: root
    - group: {{ {"Debian": "www-data"}.get(grains["os_family"], "nginx") }}
    - mode: '0640'
    - show_changes: False
    - require:
      - pkg: pipmirror-server-package
{%-   else %}
  file.absent:
    - name: {{ htpasswd_path }}
{%-   endif %}

{%-   if not server.names and grains["os_family"] == "Debian" %}

pipmirror-server-default:
  file.absent:
    {#- Only the link: the distribution's file stays where it is. #}
    - name: /etc/nginx/sites-enabled/default
    - require:
      - pkg: pipmirror-server-package
    - require_in:
      - file: pipmirror-server-site
{%-   endif %}

{%-   if compiling %}

pipmirror-server-compiled:
  {#- What a page costs more than a bare file goes mostly for regular expressions; compiled, they cost less than half. #}
{%-     if said %}
  file.absent:
    - name: {{ compiling }}
{%-     else %}
  file.managed:
    - name: {{ compiling }}
    - contents:
      - "# Salt writes this file (pipmirror.server): what is changed here is lost."
      - pcre_jit on;
    - makedirs: True
    - user: root
    - group: root
    - mode: '0644'
{%-     endif %}
    - require:
      - pkg: pipmirror-server-package
    - require_in:
      - cmd: pipmirror-server-test
{%-   endif %}

pipmirror-server-site:
  file.managed:
    - name: {{ site }}
    - source: salt://{{ tpldir }}/nginx.conf.jinja
    - template: jinja
    - context:
        server: {{ shown | tojson }}
        htpasswd: {{ htpasswd_path if server.htpasswd else "" }}
        tls_port: {{ tls_port | tojson }}
    - user: root
    - group: root
    - mode: '0644'
    {#- nginx itself judges the new file, alone, before it takes the place of the old one. #}
    - check_cmd: >-
        sh -c 'conf=$(mktemp) &&
        printf "pid %s.pid; error_log stderr; events { } http { access_log off; include %s; }" "$conf" "$1" >"$conf" &&
        nginx -t -q -c "$conf"; code=$?; rm -f "$conf" "$conf.pid"; exit $code' check
    - require:
      - pkg: pipmirror-server-package
      - file: pipmirror-server-passwords

pipmirror-server-test:
  cmd.run:
    - name: nginx -t -q
    - onchanges:
{%-   for name in files if name != "passwords" %}
      - file: pipmirror-server-{{ name }}
{%-   endfor %}

pipmirror-server:
{%-   if managed_service %}
  service.running:
    - name: nginx
    - enable: True
    - reload: True
    - watch:
{%-   for name in files %}
      - file: pipmirror-server-{{ name }}
{%-   endfor %}
    - require:
      - cmd: pipmirror-server-test
{%-   else %}
  {#- No init system, as in a container: nginx is started, and told of changes, by itself. #}
  cmd.run:
    - name: nginx -s reload 2>/dev/null || nginx
    - unless: test -s /run/nginx.pid && kill -0 "$(cat /run/nginx.pid)"
    - require:
      - cmd: pipmirror-server-test

pipmirror-server-reload:
  cmd.run:
    - name: nginx -s reload
    - onchanges:
{%-   for name in files %}
      - file: pipmirror-server-{{ name }}
{%-   endfor %}
    - require:
      - cmd: pipmirror-server
{%-   endif %}
{%- endif %}
