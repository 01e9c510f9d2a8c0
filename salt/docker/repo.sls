{#- Docker's own repository, and the key that signs it. -#}
{%- from tpldir ~ "/map.jinja" import docker, docker_sls, idle with context %}
{%- set repo = docker.repo %}
{%- if docker.faults or not docker.managed %}
{{ idle("docker-repository") }}

{%- elif repo.kind == "apt" %}

docker-keyring:
  file.managed:
    - name: {{ repo.keyring }}
    - source: {{ repo.key | tojson }}
    {%- if repo.key.startswith("http") %}
    - source_hash: sha256={{ repo.key_sha256 }}
    {%- endif %}
    {#- The hash of a file from Salt's own file server would not be looked at. #}
    - check_cmd: sh -c 'echo "{{ repo.key_sha256 }}  $1" | sha256sum --check --status' check
    - user: root
    - group: root
    - mode: '0644'
    - makedirs: True
    - dir_mode: '0755'

{#- Before the other one is written: apt refuses to do anything while both are there and differ. #}
docker-repository-other-form:
  file.absent:
    - name: {{ repo.other }}
    - require:
      - file: docker-keyring

docker-repository:
  file.managed:
    - name: {{ repo.file }}
    - contents: {{ repo.contents | tojson }}
    - user: root
    - group: root
    - mode: '0644'
    - require:
      - file: docker-keyring
      - file: docker-repository-other-form
{%-   if repo.uri.startswith("https:") %}
      - pkg: docker-prerequisites

docker-prerequisites:
  pkg.installed:
    - name: ca-certificates
{%-   endif %}

{%- elif repo.kind == "rpm" %}
{%-   if repo.key_sha256 %}

docker-keyring:
  file.managed:
    - name: /etc/pki/rpm-gpg/RPM-GPG-KEY-docker-ce
    - source: {{ repo.key | tojson }}
    {%- if repo.key.startswith("http") %}
    - source_hash: sha256={{ repo.key_sha256 }}
    {%- endif %}
    - check_cmd: sh -c 'echo "{{ repo.key_sha256 }}  $1" | sha256sum --check --status' check
    - user: root
    - group: root
    - mode: '0644'
{%-   endif %}

docker-repository:
  pkgrepo.managed:
    - name: docker-ce-stable
    - humanname: Docker CE Stable - $basearch
    - baseurl: {{ repo.base }}/$releasever/$basearch/stable
    - enabled: True
    - gpgcheck: 1
{%-   if repo.key_sha256 %}
    - gpgkey: file:///etc/pki/rpm-gpg/RPM-GPG-KEY-docker-ce
    - require:
      - file: docker-keyring
{%-   else %}
    - gpgkey: {{ repo.key | tojson }}
{%-   endif %}

{%- else %}

docker-repository:
  test.nop:
    - name: no repository is managed for {{ docker.provider }}
{%- endif %}
